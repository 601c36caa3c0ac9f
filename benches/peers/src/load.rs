//! What is asked for.

use axum::body::Body;
use http::{Method, Request, Uri};
use larder_benches::{
    random::{Random, Zipf},
    requests::Requests,
    work::item,
};

/// Makes the requests of one thread. All contenders get the same ones.
#[derive(Debug)]
pub(crate) struct Load {
    requests: Requests,
    method: Method,
    targets: Targets,
}

#[derive(Debug)]
enum Targets {
    /// Of these, in this order, over and over.
    Listed { uris: Vec<Uri>, order: Vec<u32>, next: usize },
    /// One after the other.
    InTurn { next: u64 },
}

impl Load {
    /// GETs of one item.
    pub(crate) fn hot() -> Self {
        Self::listed(vec![item(0)], vec![0])
    }

    /// GETs of so many items, the n-th 1 / n times as often as the first.
    pub(crate) fn zipf(items: u32, seed: u64) -> Self {
        let (zipf, mut random) = (Zipf::new(items, 1.0), Random::seeded(seed));
        let draw = |_| u32::try_from(zipf.draw(&mut random)).expect("there are no more items");
        let order = (0..DRAWS).map(draw).collect();
        Self::listed(all(items), order)
    }

    /// GETs of one item after the other.
    pub(crate) fn in_turn() -> Self {
        Self { requests: Requests::of_a_browser(), method: Method::GET, targets: Targets::InTurn { next: 0 } }
    }

    /// Requests of one target.
    pub(crate) fn of(method: Method, uri: &'static str) -> Self {
        Self { method, ..Self::listed(vec![Uri::from_static(uri)], vec![0]) }
    }

    fn listed(uris: Vec<Uri>, order: Vec<u32>) -> Self {
        let targets = Targets::Listed { uris, order, next: 0 };
        Self { requests: Requests::of_a_browser(), method: Method::GET, targets }
    }

    /// Goes to a place in the order, so that all contenders of a round ask for the same.
    pub(crate) fn go_to(&mut self, place: usize) {
        match &mut self.targets {
            Targets::Listed { order, next, .. } => *next = place % order.len(),
            Targets::InTurn { next } => *next = place as u64,
        }
    }

    /// The next request.
    #[inline]
    pub(crate) fn next(&mut self) -> Request<Body> {
        let uri = match &mut self.targets {
            Targets::Listed { uris, order, next } => {
                let uri = uris[order[*next] as usize].clone();
                *next += 1;
                if *next == order.len() {
                    *next = 0;
                }
                uri
            }
            Targets::InTurn { next } => {
                let uri = item(*next);
                *next += 1;
                uri
            }
        };
        let mut request = self.requests.get(uri).map(Body::new);
        *request.method_mut() = self.method.clone();
        request
    }
}

fn all(items: u32) -> Vec<Uri> {
    (0..items).map(|number| item(u64::from(number))).collect()
}

/// So many are drawn beforehand: many more than what is asked for in one turn.
const DRAWS: usize = 1 << 18;
