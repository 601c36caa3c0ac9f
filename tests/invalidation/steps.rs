//! What can happen to a cache, made at random, so that what fails shrinks.

use crate::{
    events::{Kind, PLACES, Place, Selected, What, Within},
    shop::of,
};
use larder::Identity;
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Ask {
        kind: Kind,
        who: usize,
        place: Place,
        lang: bool,
        hold: Hold,
        way: Way,
    },
    /// One of those whose answer is not there yet goes away.
    Leave(usize),
    /// One of the answers that are held comes.
    Release(usize),
    Invalidate(Vec<Selected>),
    /// So many invalidations of what nothing has: all rows have to be looked up then.
    Others(usize),
    Changed {
        name: &'static str,
        tenant: Option<&'static str>,
        id: Option<&'static str>,
    },
    Unsafe {
        who: usize,
        place: Place,
        answer: Changes,
    },
    Load {
        who: usize,
        place: Place,
        hold: Hold,
    },
    Put {
        who: usize,
        place: Place,
    },
    Remove {
        who: usize,
        place: Place,
    },
    Pass(u64),
    /// The background makes its round.
    Sweep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    No,
    Head,
    Body,
    /// A body of declared length, which those who wait may follow.
    Declared,
}

/// What the service says to the next request that comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    New,
    /// What the cache has still holds, if it asks about that.
    Same,
    Fails,
}

/// What the service says to an unsafe request.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    pub(crate) status: u16,
    pub(crate) location: Option<&'static str>,
    pub(crate) group: Option<&'static str>,
    pub(crate) says: Vec<Selected>,
}

pub(crate) fn who(number: usize) -> (Identity, Option<&'static str>) {
    match number {
        0 => (Identity::new(), None),
        1 => (of("1"), Some("1")),
        2 => (of("1").with_user(7), Some("1")),
        3 => (of("2").with_user(7), Some("2")),
        _ => (of("2").with("role", "admin"), Some("2")),
    }
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let kinds = prop::sample::select(&[Kind::List, Kind::Shop, Kind::All][..]);
    let hold =
        || prop_oneof![5 => Just(Hold::No), 1 => Just(Hold::Head), 1 => Just(Hold::Body), 1 => Just(Hold::Declared)];
    let way = prop_oneof![6 => Just(Way::New), 3 => Just(Way::Same), 1 => Just(Way::Fails)];
    let place = || prop::sample::select(&PLACES[..]);
    let changes = (
        prop::sample::select(&[200, 204, 303, 404][..]),
        prop::option::of(prop::sample::select(&["/a", "/b", "/b?x=1", "/c"][..])),
        prop::option::of(prop::sample::select(&["g", "h"][..])),
        prop::collection::vec(selected(), 0..2),
    );
    let changes = changes.prop_map(|(status, location, group, says)| Changes { status, location, group, says });
    let name = prop::sample::select(&["People", "Team", "Asset", "Nothing"][..]);
    let id = prop::option::of(prop::sample::select(&["5", "6"][..]));
    prop_oneof![
        16 => (kinds, 0..5_usize, place(), any::<bool>(), hold(), way).prop_map(
            |(kind, who, place, lang, hold, way)| Step::Ask { kind, who, place, lang, hold, way }
        ),
        1 => (0..4_usize).prop_map(Step::Leave),
        5 => (0..4_usize).prop_map(Step::Release),
        8 => prop::collection::vec(selected(), 1..3).prop_map(Step::Invalidate),
        1 => (5..40_usize).prop_map(Step::Others),
        1 => (name, prop::option::of(tenant()), id).prop_map(|(name, tenant, id)| Step::Changed { name, tenant, id }),
        2 => (0..5_usize, place(), changes).prop_map(|(who, place, answer)| Step::Unsafe { who, place, answer }),
        4 => (0..5_usize, place(), hold()).prop_map(|(who, place, hold)| Step::Load { who, place, hold }),
        1 => (0..5_usize, place()).prop_map(|(who, place)| Step::Put { who, place }),
        1 => (0..5_usize, place()).prop_map(|(who, place)| Step::Remove { who, place }),
        2 => (1..70_u64).prop_map(Step::Pass),
        1 => Just(Step::Sweep),
    ]
}

fn tenant() -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(&["1", "2"][..])
}

fn selected() -> impl Strategy<Value = Selected> {
    let tags = ["x", "y", "list", "item:5", "item:*", "item:5:*", "path:/a", "path:*", "turn:0", "turn:*", "rate:*"];
    let sets = [&["x", "y"][..], &["y", "turn:1"], &["item:*", "list"], &["x"], &["item:5", "y"], &["x", "rate:gold"]];
    let patterns =
        ["*", "*:list:*", "tenant=1:*", "tenant:2:*shop*", "shop:v7:*/b", "*/c", "*user:7*", "*//a.ex*", "*rate*"];
    let attributes = [("tenant", "1"), ("tenant", "2"), ("user", "7"), ("role", "admin")];
    let bare = Place { host: None, path: "/c" };
    let what = prop_oneof![
        1 => Just(What::Everything),
        4 => prop::sample::select(&PLACES[..]).prop_map(What::Resource),
        1 => Just(What::Resource(bare)),
        6 => prop::sample::select(tags.to_vec()).prop_map(|tag| What::Tag(tag.to_owned())),
        3 => prop::sample::select(sets.to_vec()).prop_map(|tags| What::AllOf(tags.to_vec())),
        2 => prop::sample::select(&["g", "h"][..]).prop_map(|name| What::Group(None, name)),
        2 => prop::sample::select(&["list", "shop", "all", "rate"][..]).prop_map(What::Policy),
        3 => prop::sample::select(patterns.to_vec()).prop_map(What::Pattern),
        1 => Just(What::Value("rate")),
        3 => prop::sample::select(attributes.to_vec()).prop_map(|(name, value)| What::Attribute(name, value)),
    ];
    let within = prop_oneof![2 => Just(Within::Anyone), 1 => tenant().prop_map(Within::Tenant)];
    (what, within, prop::bool::weighted(0.3)).prop_map(|(what, within, soft)| Selected { what, within, soft })
}
