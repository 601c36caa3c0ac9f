//! The decision for a request.

use super::{
    answer::{Answer, Failure, Told},
    query::{short, wrong},
    service::Asked,
};
use crate::{Cache, Explanation, Identity, Outcome};
use http::{HeaderName, HeaderValue, Method, Request, Uri, header::HOST, request::Parts};

pub(super) fn told(asked: &Asked<'_>) -> Told {
    let (name, cache) = asked.cache()?;
    let parts = request(asked)?;
    let why = match asked.query.get("policy")? {
        Some(policy) => {
            let why = cache.explain_under(policy, &parts);
            why.ok_or_else(|| Failure::not_found(format!("no layer over this cache has a policy `{}`", short(policy))))?
        }
        None => the_one(cache, &parts)?,
    };
    // What is kept for others too tells what they have asked for.
    if let Some(own) = &asked.access.tenant
        && why.key().is_some()
        && why.tenant() != Some(own)
    {
        let text = format!("access is limited to tenant `{own}`, and what answers this request is not keyed on it");
        return Err(Failure::forbidden(text));
    }
    Ok(Answer::of("application/json", why.in_cache(name).to_json()))
}

/// What the layer that takes part would do, if it can be told which one that is.
fn the_one(cache: &Cache, parts: &Parts) -> Result<Explanation, Failure> {
    let mut all = cache.explain(parts);
    if all.len() > 1 {
        let taking_part = all.iter().filter(|why| why.outcome() != Outcome::Bypass).count();
        if taking_part > 0 {
            all.retain(|why| why.outcome() != Outcome::Bypass);
        }
        // What is stored was stored by the layer that the request comes to.
        let is_stored =
            |why: &Explanation| !matches!(why.outcome(), Outcome::Bypass | Outcome::Miss | Outcome::Collapsed);
        if all.iter().any(is_stored) {
            all.retain(is_stored);
        }
        // Layers that agree on the key are one.
        all.dedup_by(|a, b| a.key().is_some() && a.key() == b.key());
    }
    let names: Vec<_> = all.iter().map(|why| why.policy().unwrap_or("one without a name").to_owned()).collect();
    match (all.pop(), names.len()) {
        (Some(why), 1) => Ok(why),
        (None, _) => Err(Failure::not_found("no layer over this cache has a policy for this request")),
        _ => Err(Failure::bad(format!(
            "only the router knows which layer this request comes to: name the policy that is meant, one of {}",
            names.join(", ")
        ))),
    }
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
