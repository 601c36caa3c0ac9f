//! Where the requests of a category come from.

use super::{WarmRequest, caught};
use crate::{cache::BoxError, identity::Identity};
use std::{fmt, future::Future, pin::Pin, sync::Arc};

/// Where the requests of a category come from.
///
/// A list of requests is one, by `into`; others may be asked anew at each run.
///
/// ```
/// use larder::{Identity, WarmRequest, WarmSource, Warmer};
///
/// # async fn ids_of_new_products() -> Result<Vec<u64>, std::io::Error> { Ok(vec![]) }
/// let days = WarmRequest::templates("/dashboard?days={days}", [("days", &["7", "30", "90", "365"])]);
/// let warmer = Warmer::new()
///     .category("home", 10, [WarmRequest::get("/")])
///     .category("dashboards", 5, WarmSource::from(days).for_each_identity((1..=3).map(|id| Identity::new().with_tenant(id))))
///     .category("products", 1, WarmSource::producer(|| async {
///         let ids = ids_of_new_products().await?;
///         Ok::<_, std::io::Error>(ids.iter().map(|id| WarmRequest::get(format!("/products/{id}"))).collect())
///     }));
/// # let _ = warmer;
/// ```
#[derive(Clone)]
#[must_use = "nothing is asked until a `Warmer` has it"]
pub struct WarmSource {
    kind: Kind,
    identities: Option<Arc<[Identity]>>,
}

#[derive(Clone)]
enum Kind {
    List(Arc<[WarmRequest]>),
    Producer(Arc<Produce>),
    Batches(Arc<Produce>),
    Value(Arc<Load>),
}

/// The batch of this number.
type Produce = dyn Fn(usize) -> Later<Vec<WarmRequest>> + Send + Sync;
type Load = dyn Fn() -> Later<()> + Send + Sync;
pub(super) type Later<T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send>>;

/// One thing to warm.
pub(super) enum Item {
    Request(Box<WarmRequest>),
    Value(Arc<Load>),
}

impl Item {
    /// For whom it is, if that is said.
    pub(super) fn whose(&self) -> Option<&Identity> {
        match self {
            Self::Request(request) => request.whose(),
            Self::Value(_) => None,
        }
    }

    fn request(request: WarmRequest) -> Self {
        Self::Request(Box::new(request))
    }
}

impl WarmSource {
    /// What a closure finds out at each run.
    pub fn producer<F, E>(produce: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Vec<WarmRequest>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self::of(Kind::Producer(Arc::new(move |_| later(produce()))))
    }

    /// What a closure finds out batch by batch, for what is too much to hold at once: it is called with 0, 1, 2 and so on,
    /// until a batch is empty. The next batch is asked for once the last one has been worked through.
    pub fn batches<F, E>(produce: impl Fn(usize) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Vec<WarmRequest>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self::of(Kind::Batches(Arc::new(move |number| later(produce(number)))))
    }

    /// Each request once for each of these, tenants or users.
    pub fn for_each_identity(mut self, identities: impl IntoIterator<Item = Identity>) -> Self {
        self.identities = Some(identities.into_iter().collect());
        self
    }

    pub(super) fn value<F, T, E>(load: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self::of(Kind::Value(Arc::new(move || {
            let loading = load();
            later(async move { loading.await.map(drop) })
        })))
    }

    fn of(kind: Kind) -> Self {
        Self { kind, identities: None }
    }

    /// The batch of this number; none after the last.
    pub(super) async fn batch(&self, number: usize) -> Result<Option<Vec<Item>>, String> {
        let requests = match &self.kind {
            Kind::List(requests) if number == 0 => requests.to_vec(),
            Kind::Producer(produce) if number == 0 => caught(|| produce(0)).await?,
            Kind::Batches(produce) => caught(|| produce(number)).await?,
            Kind::Value(load) if number == 0 => return Ok(Some(vec![Item::Value(Arc::clone(load))])),
            Kind::List(_) | Kind::Producer(_) | Kind::Value(_) => return Ok(None),
        };
        if requests.is_empty() {
            return Ok(None);
        }
        let Some(identities) = &self.identities else {
            return Ok(Some(requests.into_iter().map(Item::request).collect()));
        };
        let each = |request: WarmRequest| {
            identities.iter().map(move |identity| Item::request(request.clone().identity(identity.clone())))
        };
        Ok(Some(requests.into_iter().flat_map(each).collect()))
    }
}

fn later<T, E: Into<BoxError>>(future: impl Future<Output = Result<T, E>> + Send + 'static) -> Later<T> {
    Box::pin(async move { future.await.map_err(|error| error.into().to_string()) })
}

impl<L: IntoIterator<Item = WarmRequest>> From<L> for WarmSource {
    fn from(requests: L) -> Self {
        Self::of(Kind::List(requests.into_iter().collect()))
    }
}

impl fmt::Debug for WarmSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::List(requests) => return f.debug_tuple("List").field(&requests.len()).finish(),
            Kind::Producer(_) => "Producer",
            Kind::Batches(_) => "Batches",
            Kind::Value(_) => "Value",
        };
        f.write_str(kind)
    }
}
