//! Without feature `encrypt` there is no key ring.

/// None can be made.
#[derive(Clone, Debug)]
pub(crate) enum KeyRing {}

#[derive(Debug)]
pub(crate) enum NamedKey {}

impl KeyRing {
    pub(crate) fn nonce() -> Option<[u8; 24]> {
        None
    }

    pub(crate) fn newest(&self) -> &NamedKey {
        match *self {}
    }

    pub(crate) fn find(&self, _: &[u8]) -> Option<&NamedKey> {
        match *self {}
    }
}

impl NamedKey {
    pub(crate) fn name(&self) -> &str {
        match *self {}
    }

    pub(crate) fn encrypt(&self, _: &[u8; 24], _: &[u8], _: &mut [u8]) -> Option<[u8; 16]> {
        match *self {}
    }

    pub(crate) fn decrypt(&self, _: &[u8; 24], _: &[u8], _: &mut [u8], _: &[u8; 16]) -> Option<()> {
        match *self {}
    }
}
