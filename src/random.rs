//! What nobody can guess or repeat. The standard library's hashes are seeded by the system.

use std::hash::{BuildHasher, RandomState};

/// Random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    for part in bytes.chunks_mut(8) {
        let (a, b) = (RandomState::new(), RandomState::new());
        let number = a.hash_one(part.len()) ^ b.hash_one(std::process::id()).rotate_left(17);
        part.copy_from_slice(&number.to_le_bytes()[..part.len()]);
    }
    bytes
}

/// A random number from 0 up to 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits are all that the number has")]
pub(crate) fn fraction() -> f64 {
    (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_twice() {
        assert_ne!(bytes::<16>(), bytes::<16>());
        assert_ne!(bytes::<16>()[..8], bytes::<16>()[8..]);
        assert!((0..100).all(|_| (0.0..1.0).contains(&fraction())));
    }
}
