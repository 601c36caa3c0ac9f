//! Selectors as text, for a log that several processes share: JSON, so that people can read it there.
//!
//! What one version writes another must not take for less than it is: what cannot be read stands for everything.

use super::{
    Force, Selector,
    selector::{Narrowed, What},
};
use serde_json::{Map, Value, json};

/// Selectors as a record of the log has them. A record longer than 64 KiB selects everything: every process reads all of them.
pub(crate) fn write(selectors: &[Selector]) -> String {
    let all: Vec<Value> = selectors.iter().map(one).collect();
    let text = Value::Array(all).to_string();
    if text.len() > LONGEST { json!([{"everything": true}]).to_string() } else { text }
}

/// What a record selects. Nothing if any of it cannot be read.
pub(crate) fn read(text: &str) -> Option<Vec<Selector>> {
    let Value::Array(all) = serde_json::from_str(text).ok()? else { return None };
    all.iter().map(|one| read_one(one.as_object()?)).collect()
}

fn one(selector: &Selector) -> Value {
    let (name, what) = match &selector.what {
        What::Everything => ("everything", json!(true)),
        What::Resource(uri) => ("resource", json!(uri)),
        What::Target { authority, path, query } => ("target", json!([authority, path, query])),
        What::Attribute(name, value) => ("attribute", json!([name, value])),
        What::Tag(tag) => ("tag", json!(tag)),
        What::AllOf(tags) => ("all_of", json!(tags)),
        What::Group { authority, name } => ("group", json!([authority, name])),
        What::Policy(name) => ("policy", json!(name)),
        What::Pattern(pattern) => ("pattern", json!(pattern)),
        What::Name(name) => ("name", json!(name)),
        What::Value(name) => ("value", json!(name)),
        What::Key(key) => ("key", json!(key)),
    };
    let mut object = Map::new();
    object.insert(name.to_owned(), what);
    match &selector.within {
        Narrowed::Anyone => {}
        Narrowed::Tenant(tenant) => drop(object.insert("within".to_owned(), json!(tenant))),
        Narrowed::Nobody => drop(object.insert("within".to_owned(), Value::Null)),
    }
    if selector.force == Force::Soft {
        object.insert("soft".to_owned(), json!(true));
    }
    Value::Object(object)
}

fn read_one(object: &Map<String, Value>) -> Option<Selector> {
    let (mut what, mut within, mut force) = (None, Narrowed::Anyone, Force::Hard);
    for (name, value) in object {
        match (name.as_str(), value) {
            ("within", Value::String(tenant)) => within = Narrowed::Tenant(tenant.clone()),
            ("within", Value::Null) => within = Narrowed::Nobody,
            ("soft", Value::Bool(soft)) => force = if *soft { Force::Soft } else { Force::Hard },
            (name, value) if what.is_none() => what = Some(read_what(name, value)?),
            _ => return None,
        }
    }
    let selector = Selector::of(what?);
    Some(Selector { within, force, ..selector })
}

fn read_what(name: &str, value: &Value) -> Option<What> {
    let text = || value.as_str().map(str::to_owned);
    Some(match name {
        "everything" => What::Everything,
        "resource" => What::Resource(text()?),
        "target" => {
            let [authority, path, query] = value.as_array()?.as_slice() else { return None };
            What::Target { authority: optional(authority)?, path: path.as_str()?.to_owned(), query: optional(query)? }
        }
        "attribute" => {
            let [name, value] = value.as_array()?.as_slice() else { return None };
            What::Attribute(name.as_str()?.to_owned(), value.as_str()?.to_owned())
        }
        "tag" => What::Tag(text()?),
        "all_of" => {
            What::AllOf(value.as_array()?.iter().map(|tag| tag.as_str().map(str::to_owned)).collect::<Option<_>>()?)
        }
        "group" => {
            let [authority, name] = value.as_array()?.as_slice() else { return None };
            What::Group { authority: optional(authority)?, name: name.as_str()?.to_owned() }
        }
        "policy" => What::Policy(text()?),
        "pattern" => What::Pattern(text()?),
        "name" => What::Name(text()?),
        "value" => What::Value(text()?),
        "key" => {
            let bytes = value.as_array()?.iter().map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()));
            What::Key(bytes.collect::<Option<Vec<_>>>()?.try_into().ok()?)
        }
        _ => return None,
    })
}

/// A text, or that there is none.
#[expect(clippy::option_option, reason = "what is neither a text nor null is the outer nothing")]
fn optional(value: &Value) -> Option<Option<String>> {
    match value {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(text.clone())),
        _ => None,
    }
}

/// What is longer is worth no more than everything.
const LONGEST: usize = 1 << 16;

/// What the fuzz target does: what is read is written and read as the same, and selects something or is refused.
#[cfg(any(test, fuzzing))]
pub(crate) fn check(text: &str) {
    let Some(selectors) = read(text) else { return };
    if text.len() < LONGEST / 8 {
        assert_eq!(read(&write(&selectors)).as_ref(), Some(&selectors));
    }
    let (rows, searches) = (super::RowHasher::default(), crate::key::Searches::default());
    let mut batch = super::Batch::default();
    for selector in &selectors {
        let _ = selector.add_to(&mut batch, &rows, &[], &searches);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn selectors() -> impl Strategy<Value = Selector> {
        let text = || ".{0,12}";
        let optional = || proptest::option::of(".{0,12}");
        let what = prop_oneof![
            Just(What::Everything),
            text().prop_map(What::Resource),
            (optional(), text(), optional()).prop_map(|(authority, path, query)| What::Target {
                authority,
                path,
                query
            }),
            (text(), text()).prop_map(|(name, value)| What::Attribute(name, value)),
            text().prop_map(What::Tag),
            proptest::collection::vec(text(), 0..4).prop_map(What::AllOf),
            (optional(), text()).prop_map(|(authority, name)| What::Group { authority, name }),
            text().prop_map(What::Policy),
            text().prop_map(What::Pattern),
            text().prop_map(What::Name),
            text().prop_map(What::Value),
            any::<[u8; 16]>().prop_map(What::Key),
        ];
        let within = prop_oneof![Just(Narrowed::Anyone), Just(Narrowed::Nobody), ".{0,5}".prop_map(Narrowed::Tenant)];
        (what, within, any::<bool>()).prop_map(|(what, within, soft)| Selector {
            within,
            force: if soft { Force::Soft } else { Force::Hard },
            ..Selector::of(what)
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(selectors in proptest::collection::vec(selectors(), 0..5)) {
            prop_assert_eq!(read(&write(&selectors)), Some(selectors));
        }

        #[test]
        fn nothing_panics(text in ".{0,40}") {
            check(&text);
        }
    }

    #[test]
    fn people_can_read_it() {
        let text = write(&[Selector::tag("dashboard").within(1).soft(), Selector::everything()]);
        assert_eq!(text, r#"[{"soft":true,"tag":"dashboard","within":"1"},{"everything":true}]"#);
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_less() {
        for text in [
            "",
            "{}",
            "[{}]",
            r#"[{"tags":"a"}]"#,
            r#"[{"tag":1}]"#,
            r#"[{"tag":"a","only":"b"}]"#,
            r#"[{"tag":"a","policy":"b"}]"#,
            r#"[{"tag":"a","soft":1}]"#,
            r#"[{"key":[256]}]"#,
            r#"[{"target":["a","/"]}]"#,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_too_long_selects_everything() {
        let many: Vec<_> = (0..100_000).map(|n| Selector::tag(format!("tag:{n}"))).collect();
        assert_eq!(read(&write(&many)), Some(vec![Selector::everything()]));
        let frame = write(&[Selector::tag("")]).len();
        let longest = [Selector::tag("x".repeat(LONGEST - frame))];
        assert_eq!(write(&longest).len(), LONGEST);
        assert_eq!(read(&write(&longest)).as_deref(), Some(&longest[..]));
    }
}
