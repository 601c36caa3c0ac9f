//! Without feature `zstd` nothing is compressed, and what is cannot be read.

pub(super) fn compress(_: &[u8], _: usize) -> Option<Vec<u8>> {
    None
}

pub(super) fn decompress(_: &[u8], _: usize) -> Option<Vec<u8>> {
    None
}
