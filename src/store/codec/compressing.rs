//! Bodies compressed by Zstandard (RFC 8878). Each thread keeps its contexts: to make them costs more than to use them.

use std::cell::RefCell;
use zstd::bulk::{Compressor, Decompressor};

/// The body in `most` bytes or less; nothing if it does not get that short.
pub(super) fn compress(body: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut compressed = Vec::with_capacity(most);
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            None => kept.insert(Compressor::new(LEVEL).ok()?),
        };
        compressor.compress_to_buffer(body, &mut compressed).ok()
    })?;
    (compressed.len() <= most).then_some(compressed)
}

/// The body, which has exactly `size` bytes.
pub(super) fn decompress(compressed: &[u8], size: usize) -> Option<Vec<u8>> {
    // What the frame says of its length is asked first, so that nothing is allocated for a claim that it does not share.
    if zstd::zstd_safe::get_frame_content_size(compressed).ok()?? != u64::try_from(size).ok()? {
        return None;
    }
    let mut body = Vec::with_capacity(size);
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new().ok()?),
        };
        decompressor.decompress_to_buffer(compressed, &mut body).ok()
    })?;
    (body.len() == size).then_some(body)
}

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Higher ones take longer and save little.
const LEVEL: i32 = 1;
