//! `explain`.

use super::Desk;
use crate::{
    args::Explain,
    fault::Fault,
    json::{count, list, text, text_or},
    out::{Look, Out},
    table::clean,
    units::plural,
};
use serde_json::Value;

pub(super) async fn explain(desk: &mut Desk<'_>, request: &Explain) -> Result<(), Fault> {
    let mut query = desk.query().with("method", &request.method).with("uri", &request.uri);
    for (name, value) in &request.header {
        query = query.with("header", format!("{name}: {value}"));
    }
    let query = query
        .maybe("policy", request.policy.as_ref())
        .maybe("tenant", request.tenant.as_ref())
        .maybe("user", request.user.as_ref());
    let (told, out) = (desk.client.get("api/explain", query).await?, desk.out);
    if out.json {
        return out.json(&told);
    }
    let all = list(&told, "/explanations");
    if all.len() > 1 {
        out.paragraph(
            0,
            "only the router knows which policy this request comes to. Under each that it may be (--policy names one):",
        )?;
    }
    for (number, why) in all.iter().enumerate() {
        if number > 0 || all.len() > 1 {
            out.line("")?;
        }
        one(out, why)?;
    }
    if all.iter().any(|why| text(why, "/reason") == "identity-missing") {
        out.note("where the identity is missing: --tenant and --user give it, as an IdentityLayer would");
    }
    match count(&told, "/omitted") {
        0 => Ok(()),
        omitted => {
            out.note(&format!(
                "{}: too many, or not yours to see",
                plural(omitted, "policy left out", "policies left out")
            ));
            Ok(())
        }
    }
}

/// What becomes of it under one policy.
fn one(out: &Out, told: &Value) -> Result<(), Fault> {
    let outcome = text_or(told, "/outcome", "unknown");
    let look = match outcome {
        "hit" | "revalidated" => Look::Good,
        "stale" | "miss" | "collapsed" => Look::Doubtful,
        _ => Look::Bad,
    };
    let reason = match text(told, "/reason") {
        "" => String::new(),
        reason => clean(&format!(", {reason}")),
    };
    let word = out.look(look, &clean(outcome));
    let policy = out.look(Look::Title, &format!("policy {}", clean(text_or(told, "/policy", "-"))));
    out.line(format!("{policy}: {word}{reason}"))?;
    let mut pairs =
        vec![("cache", text_or(told, "/cache", "-").to_owned()), ("key", text_or(told, "/key", "-").to_owned())];
    for part in list(told, "/key_parts") {
        pairs.push(("", format!("{} {}", text(part, "/name"), text(part, "/value"))));
    }
    out.pairs(2, &pairs)?;
    out.line("")?;
    let steps: Vec<_> =
        list(told, "/steps").iter().map(|step| (text(step, "/name"), text(step, "/text").to_owned())).collect();
    out.pairs(2, &steps)
}
