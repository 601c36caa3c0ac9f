//! What is kept where in a store.

use crate::{hex::hex, store::StoreKey};

/// The keys of a namespace in a store: `larder:<namespace>:1:{<digest>}`, with `:<digest>` for a variant. What is in braces
/// keeps a resource and its variants together in a cluster; the number is that of the layout.
#[derive(Clone, Debug)]
pub(crate) struct Places(String);

impl Places {
    pub(crate) fn new(namespace: &str) -> Self {
        Self(format!("larder:{namespace}:{LAYOUT}:{{"))
    }

    /// What all keys begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.0
    }

    /// The first half of what stands for this key in all of its places.
    pub(crate) fn digest(key: &[u8]) -> u64 {
        let mut half = [0; 8];
        half.copy_from_slice(&blake3::hash(key).as_bytes()[..8]);
        u64::from_be_bytes(half)
    }

    /// The place of a resource.
    pub(crate) fn resource(&self, key: &[u8]) -> StoreKey {
        key_of(self.text(key))
    }

    /// The place of a variant.
    pub(crate) fn variant(&self, key: &[u8], digest: &[u8; 16]) -> StoreKey {
        let mut text = self.text(key);
        text.push(':');
        text.push_str(&hex(digest));
        key_of(text)
    }

    /// The place of the right to fill a variant.
    pub(crate) fn lease(&self, key: &[u8], digest: &[u8; 16]) -> StoreKey {
        let mut text = self.text(key);
        text.push_str(":lease:");
        text.push_str(&hex(digest));
        key_of(text)
    }

    fn text(&self, key: &[u8]) -> String {
        let mut text = String::with_capacity(self.0.len() + 66);
        text.push_str(&self.0);
        text.push_str(&hex(&blake3::hash(key).as_bytes()[..16]));
        text.push('}');
        text
    }
}

fn key_of(text: String) -> StoreKey {
    // A namespace has up to 128 printable letters, and the rest is ours.
    StoreKey::new(text).expect("a key of a store is printable and short")
}

const LAYOUT: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_do_not_reach_into_each_other() {
        let (a, b) = (Places::new("a"), Places::new("a:1"));
        assert_eq!(a.resource(b"key").as_str(), "larder:a:1:{ff8e2bab3b26e0c127002127905539b4}");
        assert!(!b.resource(b"key").as_str().starts_with(a.prefix()));
        assert!(a.variant(b"key", &[7; 16]).as_str().starts_with(a.resource(b"key").as_str()));
    }
}
