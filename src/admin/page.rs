//! The page over the API: without any data in it.

use super::answer::Answer;
use crate::{hex::hex, random};
use std::sync::LazyLock;

/// The page, in which only what has this answer's nonce may run.
pub(super) fn page() -> Answer {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        let style = include_str!("page/style.css");
        include_str!("page/index.html").replace("{style}", style).replace("{script}", &SCRIPTS.join("\n"))
    });
    let nonce = hex(&random::bytes::<16>());
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    );
    Answer::page(PAGE.replace("{nonce}", &nonce), &policy)
}

/// In the order of their README.
const SCRIPTS: [&str; 20] = [
    include_str!("page/dom.js"),
    include_str!("page/format.js"),
    include_str!("page/api.js"),
    include_str!("page/state.js"),
    include_str!("page/table.js"),
    include_str!("page/scale.js"),
    include_str!("page/chart.js"),
    include_str!("page/history.js"),
    include_str!("page/stores.js"),
    include_str!("page/overview.js"),
    include_str!("page/traffic.js"),
    include_str!("page/advice.js"),
    include_str!("page/keys.js"),
    include_str!("page/explain.js"),
    include_str!("page/policies.js"),
    include_str!("page/layout.js"),
    include_str!("page/graph.js"),
    include_str!("page/actions.js"),
    include_str!("page/upkeep.js"),
    include_str!("page/main.js"),
];
