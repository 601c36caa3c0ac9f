//! `explain`.

use super::Desk;
use crate::{
    args::Explain,
    fault::Fault,
    json::{list, text, text_or},
    out::Look,
};

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
    let outcome = text_or(&told, "/outcome", "unknown");
    let look = match outcome {
        "hit" | "revalidated" => Look::Good,
        "stale" | "miss" | "collapsed" => Look::Doubtful,
        _ => Look::Bad,
    };
    let reason = match text(&told, "/reason") {
        "" => String::new(),
        reason => crate::table::clean(&format!(", {reason}")),
    };
    let word = out.look(look, &crate::table::clean(outcome));
    out.line(format!("{word}{reason}"))?;
    let mut pairs = vec![
        ("cache", text_or(&told, "/cache", "-").to_owned()),
        ("policy", text_or(&told, "/policy", "-").to_owned()),
        ("key", text_or(&told, "/key", "-").to_owned()),
    ];
    for part in list(&told, "/key_parts") {
        pairs.push(("", format!("{} {}", text(part, "/name"), text(part, "/value"))));
    }
    out.pairs(2, &pairs)?;
    out.line("")?;
    let steps: Vec<_> =
        list(&told, "/steps").iter().map(|step| (text(step, "/name"), text(step, "/text").to_owned())).collect();
    out.pairs(2, &steps)
}
