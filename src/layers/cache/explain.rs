//! What a layer would do with a request.

use super::{CacheLayer, layer::Shared};
use crate::{
    cache::{Asked, Explains, Explanation, client_uri, explain, explain_with_stores},
    policy::Chosen,
};
use http::request::Parts;
use std::sync::Arc;

impl<R> CacheLayer<R> {
    /// What this layer would do now with a request that has no content, and why. It changes nothing: nothing is counted or
    /// promoted, nobody is asked. The closures of the policy, and the predicates of a [`PolicyTable`](crate::PolicyTable), are
    /// called as for a request.
    ///
    /// The request is taken as it comes to this layer: with the [`Identity`](crate::Identity) in its extensions, if a layer
    /// further out puts one there.
    pub fn explain(&self, parts: &Parts) -> Explanation {
        self.explain_with_content(parts, &[])
    }

    /// The same for a request with content, which is part of the key under [`Policy::key_body`](crate::Policy::key_body) and
    /// [`Policy::grpc`](crate::Policy::grpc).
    pub fn explain_with_content(&self, parts: &Parts, content: &[u8]) -> Explanation {
        let picked = self.choice.pick(parts, client_uri(parts).path());
        let asked = Asked { parts, content, passing: picked.passing, reads: self.reads };
        explain(&picked.made.cache, &picked.made.rules, asked).at(picked.spot)
    }

    /// The same with a look into the stores behind the memory tier, if they would be asked: the step `stores` tells what each
    /// has. Nothing is taken into memory. It takes as long as the stores take, within their budgets.
    pub async fn explain_with_stores(&self, parts: &Parts) -> Explanation {
        let picked = self.choice.pick(parts, client_uri(parts).path());
        let asked = Asked { parts, content: &[], passing: picked.passing, reads: self.reads };
        explain_with_stores(&picked.made.cache, &picked.made.rules, asked).await.at(picked.spot)
    }
}

/// Whether bodies can be read for a key is left aside: only the layer knows.
impl Explains for Chosen<Arc<Shared>> {
    fn explain(&self, parts: &Parts) -> Explanation {
        let picked = self.pick(parts, client_uri(parts).path());
        let asked = Asked { parts, content: &[], passing: picked.passing, reads: true };
        explain(&picked.made.cache, &picked.made.rules, asked).at(picked.spot)
    }
}
