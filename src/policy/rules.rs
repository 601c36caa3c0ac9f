//! A policy once it has met its cache: checked, and ready for the hot path.

use super::{
    Cookies, FillRules, MomentOf, Policy, PolicyError, RefreshRules, RequestDirectives, RequestIs, ResponseIs, TagsOf,
    UriOf,
};
use crate::{
    credentials::{STANDARD, is_api_key, is_credential_name},
    identity::Scope,
    invalidation::Tags,
    key::{KeyBuf, KeyRules, Part, Searches},
    semantics::{cache_control_writer::CacheControl, storable::StoreRules},
    tally::Tally,
};
use http::{HeaderName, Method};
use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

/// The deployment that a key belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit<'a> {
    pub(crate) searches: &'a Arc<Searches>,
    pub(crate) namespace: &'a str,
    pub(crate) version: Option<&'a str>,
    /// The longest body that the memory tier can hold.
    pub(crate) largest_body: usize,
}

/// A checked policy.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) store: StoreRules,
    pub(crate) fill: FillRules,
    pub(crate) refresh: RefreshRules,
    pub(crate) key: KeyRules,
    /// The parts of every key that do not depend on the request.
    pub(crate) unit_prefix: Box<[u8]>,
    pub(crate) policy_prefix: Box<[u8]>,
    /// Both with the method GET, for what is keyed on nobody.
    pub(crate) plain_prefix: Arc<KeyBuf>,
    pub(crate) scope: Scope,
    /// GET is looked up and fills.
    pub(crate) get: bool,
    /// HEAD is looked up.
    pub(crate) head: bool,
    /// Methods whose content is part of the key.
    pub(crate) content_methods: Vec<Method>,
    /// Only gRPC calls, and only those that succeed.
    pub(crate) grpc: bool,
    /// Longer content is not read for a key.
    pub(crate) max_content: usize,
    pub(crate) max_body: usize,
    pub(crate) max_key: usize,
    pub(crate) max_variants: usize,
    pub(crate) cookies: Cookies,
    pub(crate) credential_headers: Vec<HeaderName>,
    /// Responses to requests without credentials may be served to those with (RFC 9111 §3.5 leaves it open).
    pub(crate) share_with_credentials: bool,
    pub(crate) honor_requests: bool,
    pub(crate) keep: Option<Duration>,
    /// Fields of responses that speak to this cache alone.
    pub(crate) own_fields: Vec<HeaderName>,
    pub(crate) uri: Option<UriOf>,
    pub(crate) bypass_if: Option<RequestIs>,
    pub(crate) refetch_if: Option<RequestIs>,
    pub(crate) refuse_if: Option<ResponseIs>,
    pub(crate) name: Option<Cow<'static, str>>,
    /// What every response is tagged with, names that it depends on included.
    pub(crate) tags: Tags,
    pub(crate) tag_with: Option<TagsOf>,
    pub(crate) tag_header: Option<HeaderName>,
    pub(crate) fresh_until: Option<MomentOf>,
    pub(crate) ignored_vary: Vec<HeaderName>,
    /// The request fields that a handler sees, where it does not see all.
    pub(crate) sealed: Option<Vec<HeaderName>>,
    pub(crate) observe_only: bool,
    pub(crate) memory_only: bool,
    pub(crate) memory_ttl: Option<Duration>,
    /// Of so many hits the inner service is asked too.
    pub(crate) verify: Option<f64>,
    pub(crate) verify_ignored: Vec<HeaderName>,
    pub(crate) browser: Option<CacheControl>,
    /// Where what comes of it is counted.
    pub(crate) tally: Arc<Tally>,
}

impl Rules {
    /// A key as [`admit_or_pass`](crate::cache::admit_or_pass) goes on with it: as if it were one of nobody.
    #[inline]
    pub(crate) fn begin_key(&self) -> KeyBuf {
        KeyBuf::begun_as(&self.plain_prefix)
    }

    /// Whether this is what a key begins with.
    pub(crate) fn begins(&self, key: &KeyBuf) -> bool {
        key.as_bytes() == self.plain_prefix.as_bytes()
    }

    pub(crate) fn new(policy: &Policy, unit: Unit<'_>) -> Result<Self, PolicyError> {
        policy.check(unit.largest_body)?;
        let mut own_fields = vec![HeaderName::from_static("larder-cache-control")];
        if policy.surrogate {
            own_fields.push(HeaderName::from_static("surrogate-control"));
        }
        let mut targets = own_fields.clone();
        own_fields.extend(policy.tag_header.clone());
        targets.push(HeaderName::from_static("cdn-cache-control"));
        let mut key = KeyRules { searches: Arc::clone(unit.searches), ..policy.key.clone() };
        let mut content_methods = policy.content_methods.clone();
        if policy.grpc {
            // The coding of the answer's messages is chosen by it.
            key.headers.push(HeaderName::from_static("grpc-accept-encoding"));
            content_methods.push(Method::POST);
        }
        let (unit_prefix, policy_prefix) = (unit_prefix(unit), policy_prefix(policy, &key));
        let mut plain_prefix = KeyBuf::default();
        plain_prefix.encoded(&unit_prefix);
        plain_prefix.encoded(&policy_prefix);
        plain_prefix.part(Part::Method, b"GET");
        Ok(Self {
            store: StoreRules { targets, ..policy.store.clone() },
            fill: policy.fill,
            refresh: policy.refresh,
            unit_prefix,
            policy_prefix,
            plain_prefix: Arc::new(plain_prefix),
            key,
            scope: policy.scope.clone(),
            get: !policy.only_invalidates,
            head: !policy.only_invalidates && policy.methods.contains(&Method::HEAD),
            max_body: policy.max_body.unwrap_or(8 * 1024 * 1024).min(unit.largest_body),
            max_key: policy.max_key,
            content_methods,
            grpc: policy.grpc,
            max_content: policy.max_content,
            max_variants: policy.max_variants,
            cookies: policy.cookies,
            credential_headers: policy.credential_headers.clone(),
            share_with_credentials: policy.share_with_credentials,
            honor_requests: policy.request_directives == RequestDirectives::Honor,
            keep: policy.keep,
            own_fields,
            uri: policy.uri_of(),
            bypass_if: policy.bypass_if.clone(),
            refetch_if: policy.refetch_if.clone(),
            refuse_if: policy.refuse_if.clone(),
            name: policy.name.clone(),
            tags: policy.tags.clone().depending_on(&policy.depends_on),
            tag_with: policy.tag_with.clone(),
            tag_header: policy.tag_header.clone(),
            fresh_until: policy.fresh_until.clone(),
            ignored_vary: policy.ignored_vary.clone(),
            sealed: policy.sealed.then(|| {
                let mut visible = policy.visible_headers();
                if policy.grpc || !policy.content_methods.is_empty() {
                    visible.extend(SEEN_WITH_CONTENT.map(HeaderName::from_static));
                }
                visible
            }),
            observe_only: policy.observe_only,
            memory_only: policy.memory_only,
            memory_ttl: policy.memory_ttl,
            verify: policy.verify,
            verify_ignored: policy.verify_ignored.clone(),
            browser: policy.browser,
            tally: Tally::nobody(),
        })
    }
}

impl Rules {
    /// These rules, with what comes of them counted here.
    pub(crate) fn counted_by(self, tally: Arc<Tally>) -> Self {
        Self { tally, ..self }
    }

    /// Whether a request field is part of the key, or says who asks.
    pub(crate) fn tells_apart(&self, name: &HeaderName) -> bool {
        self.key.names(name)
            || self.credential_headers.contains(name)
            || STANDARD.contains(name)
            || is_api_key(name.as_str())
    }

    /// Whether what has this name is shown as a digest.
    pub(crate) fn is_secret(&self, name: &str) -> bool {
        is_credential_name(name) || self.credential_headers.iter().any(|field| field.as_str() == name)
    }

    /// The bytes that an answer takes by which a handler has said how it is stored, near enough.
    pub(crate) fn weight(&self) -> usize {
        let names =
            [&self.store.targets, &self.own_fields, &self.credential_headers, &self.ignored_vary, &self.key.headers];
        let names: usize = names.iter().map(|names| names.capacity() * size_of::<HeaderName>()).sum();
        size_of::<Self>() + self.unit_prefix.len() + self.policy_prefix.len() + names + RULES_OVERHEAD
    }

    /// These rules, but for what another policy says of storing.
    pub(crate) fn with_storing_of(&self, policy: &Policy, unit: Unit<'_>) -> Result<Self, PolicyError> {
        let other = Self::new(policy, unit)?;
        let scope = other.scope.shape().is_none_or(|scope| Some(scope) == self.scope.shape());
        let key = other.key.shape().is_none_or(|key| Some(key) == self.key.shape());
        if !scope || !key || policy.name.is_some() && *other.policy_prefix != *self.policy_prefix {
            return Err(PolicyError::new(
                "a handler's policy says how long and whether its answer is stored; name, scope and key belong to the \
                 policy of the layer",
            ));
        }
        let says_who = |name: &&HeaderName| self.credential_headers.contains(*name);
        if let Some(name) = other.ignored_vary.iter().find(says_who) {
            return Err(PolicyError::new(format!("ignore_vary([{name}]): to the layer this field says who asks")));
        }
        let refuse_if = match (&self.refuse_if, other.refuse_if) {
            (Some(own), Some(more)) => {
                let own = Arc::clone(own);
                Some(Arc::new(move |request: &_, answer: &_| own(request, answer) || more(request, answer))
                    as ResponseIs)
            }
            (own, more) => more.or_else(|| own.clone()),
        };
        let tag_with = match (&self.tag_with, other.tag_with) {
            (Some(own), Some(more)) => {
                let own = Arc::clone(own);
                Some(Arc::new(move |request: &_, answer: &_| own(request, answer).with(&more(request, answer)))
                    as TagsOf)
            }
            (own, more) => more.or_else(|| own.clone()),
        };
        let store =
            StoreRules { targets: self.store.targets.clone(), set_cookie: self.store.set_cookie, ..other.store };
        Ok(Self {
            store,
            refresh: other.refresh,
            max_body: other.max_body,
            max_variants: other.max_variants,
            keep: other.keep,
            refuse_if,
            tags: self.tags.clone().with(&other.tags),
            tag_with,
            tag_header: other.tag_header.or_else(|| self.tag_header.clone()),
            fresh_until: other.fresh_until,
            ignored_vary: other.ignored_vary,
            observe_only: self.observe_only || other.observe_only,
            memory_only: self.memory_only || other.memory_only,
            memory_ttl: other.memory_ttl.or(self.memory_ttl),
            browser: other.browser,
            ..self.clone()
        })
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("store", &self.store).field("key", &self.key).finish_non_exhaustive()
    }
}

fn unit_prefix(unit: Unit<'_>) -> Box<[u8]> {
    encoded([(Part::Namespace, Some(unit.namespace)), (Part::Version, unit.version)])
}

fn policy_prefix(policy: &Policy, key: &KeyRules) -> Box<[u8]> {
    let place = policy.place.filter(|_| policy.name.is_none()).map(|place| format!("when={place}"));
    let shapes = [policy.scope.shape(), key.shape(), place];
    let shape = shapes.into_iter().flatten().collect::<Vec<_>>().join(",");
    encoded([
        (Part::Policy, policy.name.as_deref()),
        (Part::PolicyVersion, policy.version.as_deref()),
        (Part::Shape, (!shape.is_empty()).then_some(&*shape)),
    ])
}

fn encoded<const N: usize>(parts: [(Part, Option<&str>); N]) -> Box<[u8]> {
    let mut key = KeyBuf::default();
    for (part, value) in parts {
        if let Some(value) = value {
            key.part(part, value.as_bytes());
        }
    }
    key.as_bytes().into()
}

/// What the allocator and the shorter lists of rules add.
const RULES_OVERHEAD: usize = 320;

/// What says how the content is to be read: the first three are keyed, the others are of the message.
const SEEN_WITH_CONTENT: [&str; 7] = [
    "content-type",
    "content-encoding",
    "grpc-encoding",
    "grpc-accept-encoding",
    "content-length",
    "te",
    "transfer-encoding",
];
