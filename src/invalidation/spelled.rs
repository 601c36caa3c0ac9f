use super::selector::{Narrowed, Selector, What};
use crate::invalidation::ledger::Force;
use std::fmt;

/// As people read it: `tag dashboard, tenant 1`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Everything => f.write_str("everything")?,
            What::Resource(uri) => write!(f, "resource {uri}")?,
            What::Target { authority, path, query } => {
                write!(f, "resource {}{path}", authority.as_deref().unwrap_or_default())?;
                if let Some(query) = query {
                    write!(f, "?{query}")?;
                }
            }
            What::Attribute(name, value) => write!(f, "{name} {value}")?,
            What::Tag(tag) => write!(f, "tag {tag}")?,
            What::AllOf(tags) => write!(f, "tags {}", tags.join(" and "))?,
            What::Group { name, .. } => write!(f, "group {name}")?,
            What::Policy(name) => write!(f, "policy {name}")?,
            What::Pattern(pattern) => write!(f, "pattern {pattern}")?,
            What::Name(name) => write!(f, "what depends on {name}")?,
            What::Value(name) => write!(f, "value {name}")?,
            What::Key(_) => f.write_str("one value")?,
        }
        match &self.within {
            Narrowed::Anyone => {}
            Narrowed::Tenant(tenant) => write!(f, ", tenant {tenant}")?,
            Narrowed::Nobody => f.write_str(", of no tenant")?,
        }
        if self.force == Force::Soft { f.write_str(", soft") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_read_well() {
        for (selector, text) in [
            (Selector::everything(), "everything"),
            (Selector::tag("a").within(1), "tag a, tenant 1"),
            (Selector::all_of(["a", "b"]).soft(), "tags a and b, soft"),
            (Selector::tenant("7"), "tenant 7"),
            (Selector::resource("/p?x=1"), "resource /p?x=1"),
        ] {
            assert_eq!(selector.to_string(), text);
        }
    }
}
