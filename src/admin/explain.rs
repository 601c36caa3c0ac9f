//! The decision for a request.

use super::{
    answer::{Answer, Failure, Told},
    query::{short, wrong},
    service::Asked,
};
use crate::{Bypass, Explanation, Identity, Outcome};
use http::{HeaderName, HeaderValue, Method, Request, Uri, header::HOST, request::Parts};
use serde_json::json;

pub(super) fn told(asked: &Asked<'_>) -> Told {
    let (name, cache) = asked.cache()?;
    let parts = request(asked)?;
    let policy = asked.query.get("policy")?;
    let mut all = match policy {
        Some(policy) => {
            let why = cache.explain_under(policy, &parts);
            let none = || Failure::not_found(format!("no layer over this cache has a policy `{}`", short(policy)));
            vec![why.ok_or_else(none)?]
        }
        None => cache.explain(&parts),
    };
    if all.is_empty() {
        return Err(Failure::not_found("no layer over this cache has a policy for this request"));
    }
    // What is kept for others too tells what they have asked for: it does not even choose what else is told.
    if let Some(own) = &asked.access.tenant {
        all.retain(|why| why.key().is_none() || why.tenant() == Some(own));
        if all.is_empty() {
            let text = format!("access is limited to tenant `{own}`, and what answers this request is not keyed on it");
            return Err(Failure::forbidden(text));
        }
    }
    if policy.is_none() {
        all = candidates(all);
    }
    let omitted = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    let told: Vec<_> = all.into_iter().map(|why| why.in_cache(name).json()).collect();
    Ok(Answer::json(&json!({ "cache": name, "explanations": told, "omitted": omitted })))
}

/// Which layer a request comes to only the router knows. What is stored tells: it was stored by the layer that the request
/// comes to. Else all that may be are left, each policy once; those that take part come first.
fn candidates(mut all: Vec<Explanation>) -> Vec<Explanation> {
    if all.iter().any(Explanation::is_own) {
        all.retain(Explanation::is_own);
    }
    let is_for_others = |why: &Explanation| why.reason() == Some(Bypass::Method.as_str());
    if !all.iter().all(is_for_others) {
        all.retain(|why| !is_for_others(why));
    }
    let mut seen: Vec<Explanation> = Vec::new();
    for why in all {
        let is_same = |other: &Explanation| other.called().is_some() && *other == why;
        if !seen.iter().any(is_same) {
            seen.push(why);
        }
    }
    seen.sort_by_key(|why| why.outcome() == Outcome::Bypass);
    seen
}

/// The request that is meant. Without a host it is one to the host that this question came to.
fn request(asked: &Asked<'_>) -> Result<Parts, Failure> {
    let query = &asked.query;
    let method = query.get("method")?.unwrap_or("GET");
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| wrong("method", method, "a method such as GET"))?;
    let Some(text) = query.get("uri")? else {
        return Err(Failure::bad("uri= is missing: a path such as /products?page=2"));
    };
    let uri: Uri = text.parse().map_err(|_| wrong("uri", text, "a path such as /products?page=2, or a whole URI"))?;
    let (mut parts, ()) = Request::builder()
        .method(method)
        .uri(uri)
        .body(())
        .map_err(|_| wrong("uri", text, "a path such as /products?page=2"))?
        .into_parts();
    for line in query.all("header") {
        let possible = "a field such as `Accept: text/html`";
        let (name, value) = line.split_once(':').ok_or_else(|| wrong("header", line, possible))?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| wrong("header", line, possible))?;
        let value = HeaderValue::try_from(value.trim()).map_err(|_| wrong("header", line, possible))?;
        parts.headers.append(name, value);
    }
    let host = parts.uri.authority().and_then(|authority| HeaderValue::try_from(authority.as_str()).ok());
    if let Some(host) = host.or_else(|| asked.host.clone()) {
        parts.headers.entry(HOST).or_insert(host);
    }
    let (tenant, user) = (asked.tenant()?, query.get("user")?);
    if tenant.is_some() || user.is_some() {
        let identity = tenant.map_or_else(Identity::new, |tenant| Identity::new().with_tenant(tenant));
        parts.extensions.insert(user.map_or_else(|| identity.clone(), |user| identity.clone().with_user(user)));
    }
    // A server gives the path alone: keys are made of that, and of the host.
    if let Some(path) = parts.uri.path_and_query().cloned() {
        parts.uri = Uri::from(path);
    }
    Ok(parts)
}

/// So many are told.
const MOST: usize = 32;
