//! The keys by which what leaves the process is encrypted.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{AeadInOut, Generate},
};
use std::{fmt, sync::Arc};
use zeroize::Zeroize;

/// Secret keys, each with a name. What is stored is written under the newest, and read under any of them. The cipher is
/// XChaCha20-Poly1305 with a random nonce, so one key may serve for as long as you like.
///
/// ```
/// use larder::KeyRing;
///
/// # fn secret(_: &str) -> [u8; 32] { [7; 32] }
/// # fn main() -> Result<(), larder::KeyRingError> {
/// let ring = KeyRing::new("2026-11", secret("CACHE_KEY"))?.and_old("2026-05", secret("OLD_CACHE_KEY"))?;
/// # let _ = ring;
/// # Ok(()) }
/// ```
///
/// To change keys, first give the new one to every node as an old one, then make it the newest, and drop the other when
/// nothing written under it is alive: a node that lacks a key has misses, nothing worse. An entry that was changed, or moved under
/// another key of the store, does not open, and neither does one that is not encrypted at all. The names of the keys can be
/// read in the store, and so can the names and sizes of the entries: a body that mixes what an attacker chose with a
/// secret tells of it by its size if it is compressed too.
///
/// Each key should be 32 random bytes. They are wiped from memory when the last clone of the ring is dropped; what the caller
/// keeps of them is the caller's to wipe.
#[derive(Clone)]
#[must_use = "nothing is encrypted until a cache has it"]
pub struct KeyRing(Arc<Ring>);

/// Why a key cannot be in a [`KeyRing`].
///
/// ```
/// use larder::KeyRing;
///
/// let error = KeyRing::new("2026-11", [7; 32]).and_then(|ring| ring.and_old("2026-11", [9; 32])).unwrap_err();
/// println!("{error}"); // two keys of one name
/// assert!(error.to_string().contains("2026-11"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRingError(String);

/// The newest first.
struct Ring(Vec<NamedKey>);

#[derive(Clone)]
pub(crate) struct NamedKey {
    name: Box<str>,
    /// Wiped when it is dropped.
    cipher: XChaCha20Poly1305,
}

impl KeyRing {
    /// A ring of this key. Its name has up to 32 characters, printable ASCII without blanks.
    ///
    /// # Errors
    ///
    /// If the name is empty, too long, or has other characters.
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, KeyRingError> {
        Ok(Self(Arc::new(Ring(vec![NamedKey::new(name, key)?]))))
    }

    /// And a key that is only read under.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::new`], and if the ring has a key of this name.
    pub fn and_old(self, name: &str, key: [u8; 32]) -> Result<Self, KeyRingError> {
        let old = NamedKey::new(name, key)?;
        if self.find(name.as_bytes()).is_some() {
            return Err(KeyRingError(format!("there are two keys named {name:?}")));
        }
        let keys = self.0.0.iter().cloned().chain([old]).collect();
        Ok(Self(Arc::new(Ring(keys))))
    }

    /// Random; nothing if the system has no randomness to give.
    pub(crate) fn nonce() -> Option<[u8; 24]> {
        Generate::try_generate().ok()
    }

    pub(crate) fn newest(&self) -> &NamedKey {
        &self.0.0[0]
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<&NamedKey> {
        self.0.0.iter().find(|key| key.name.as_bytes() == name)
    }
}

impl NamedKey {
    fn new(name: &str, mut key: [u8; 32]) -> Result<Self, KeyRingError> {
        let cipher = XChaCha20Poly1305::new((&key).into());
        key.zeroize();
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            let rule = "has to be 1 to 32 characters of printable ASCII without blanks";
            return Err(KeyRingError(format!("the name of a key {rule}, not {name:?}")));
        }
        Ok(Self { name: name.into(), cipher })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Encrypts where it is, and gives the tag.
    pub(crate) fn encrypt(&self, nonce: &[u8; 24], covered: &[u8], plain: &mut [u8]) -> Option<[u8; 16]> {
        let tag = self.cipher.encrypt_inout_detached(&XNonce::from(*nonce), covered, plain.into());
        tag.ok().map(Into::into)
    }

    /// Decrypts where it is, if the tag is right.
    pub(crate) fn decrypt(&self, nonce: &[u8; 24], covered: &[u8], sealed: &mut [u8], tag: &[u8; 16]) -> Option<()> {
        self.cipher.decrypt_inout_detached(&XNonce::from(*nonce), covered, sealed.into(), tag.into()).ok()
    }
}

/// Names only.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyRing").field(&self.0.0.iter().map(NamedKey::name).collect::<Vec<_>>()).finish()
    }
}

impl fmt::Debug for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NamedKey").field(&self.name).finish()
    }
}

impl fmt::Display for KeyRingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeyRingError {}

const LONGEST_NAME: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_keys_never_shown() {
        for name in ["", "a b", "\n", "\u{e9}", &"x".repeat(33)] {
            assert!(KeyRing::new(name, [7; 32]).is_err(), "{name:?}");
        }
        let ring = KeyRing::new(&"x".repeat(32), [77; 32]).unwrap().and_old("b", [99; 32]).unwrap();
        assert!(ring.clone().and_old("b", [1; 32]).unwrap_err().to_string().contains("two keys"));
        let shown = format!("{ring:?} {:?}", ring.newest());
        assert!(shown.contains("\"b\"") && !shown.contains("77") && !shown.contains("4d"), "{shown}");
    }

    /// The first test vector of draft-irtf-cfrg-xchacha, A.3.1.
    #[test]
    fn the_cipher_is_xchacha20_poly1305() {
        let key: [u8; 32] = std::array::from_fn(|place| 0x80 + place as u8);
        let nonce: [u8; 24] = std::array::from_fn(|place| 0x40 + place as u8);
        let covered = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
            sunscreen would be it.";
        let ring = KeyRing::new("k", key).unwrap();
        let mut bytes = *text;
        let tag = ring.newest().encrypt(&nonce, &covered, &mut bytes).unwrap();
        assert_eq!(bytes[..8], [0xbd, 0x6d, 0x17, 0x9d, 0x3e, 0x83, 0xd4, 0x3b]);
        assert_eq!(tag[..8], [0xc0, 0x87, 0x59, 0x24, 0xc1, 0xc7, 0x98, 0x79]);
        ring.find(b"k").unwrap().decrypt(&nonce, &covered, &mut bytes, &tag).unwrap();
        assert_eq!(&bytes, text);
    }
}
