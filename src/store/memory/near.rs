//! Entries as slots hold them: what a hit reads is asked for before it is needed.

use crate::entry::Entry;
use prefetch_index::prefetch_index;
use std::{ops::Deref, ptr, slice, sync::Arc};

/// An entry, and how far from it the fields of its head lie. A clone, which is how the engine gives it away, asks for both
/// from memory at once: fields that are asked for only when the entry is there take as long again. Those who look through
/// all entries are a third faster for it too.
#[derive(Debug)]
pub(super) struct Near {
    entry: Arc<Entry>,
    /// In words, from the middle of what each hit reads of the entry. 0 where there are none, or 16 GiB away.
    fields: i32,
}

impl From<Arc<Entry>> for Near {
    fn from(entry: Arc<Entry>) -> Self {
        let fields = entry.head.values().next().map_or(0, |first| {
            let bytes = ptr::from_ref(first).addr().wrapping_sub(ptr::from_ref(&entry.refresh_from).addr());
            i32::try_from(bytes as isize / WORD).unwrap_or(0)
        });
        Self { entry, fields }
    }
}

impl From<Near> for Arc<Entry> {
    #[inline]
    fn from(near: Near) -> Self {
        near.entry
    }
}

impl Deref for Near {
    type Target = Arc<Entry>;

    #[inline]
    fn deref(&self) -> &Arc<Entry> {
        &self.entry
    }
}

impl Clone for Near {
    /// Another one, of which a hit will read much at once.
    #[inline]
    fn clone(&self) -> Self {
        // Only the address is used, so nothing has to be there yet. It is never wrong, as entries do not change, and if it
        // were, another part of memory would be asked for in vain.
        let words = slice::from_ref(&self.entry.refresh_from);
        let ask = |word: isize| prefetch_index(words, word.cast_unsigned());
        (FIRST_LINE..=LAST_LINE).for_each(|line| ask(LINE * line));
        if self.fields != 0 {
            let fields = self.fields as isize;
            (0..FIELD_LINES).for_each(|line| ask(fields + LINE * line));
        }
        Self { entry: Arc::clone(&self.entry), fields: self.fields }
    }
}

/// In bytes.
const WORD: isize = 8;

/// In words: what memory gives at once.
const LINE: isize = 8;

/// Eight fields. The processor itself asks for what follows when so much was read in a row.
const FIELD_LINES: isize = 13;

/// What each hit reads of an entry, from the line of `refresh_from`.
const FIRST_LINE: isize = -4;
const LAST_LINE: isize = 1;

#[cfg(test)]
mod tests {
    use super::{super::slot::Slot, *};
    use crate::store::memory::tests;
    use std::mem::offset_of;

    #[test]
    fn it_knows_where_the_fields_lie() {
        let near = Near::from(tests::entry(10));
        let first = near.head.values().next().unwrap();
        let fields = ptr::from_ref(&near.refresh_from).wrapping_offset(near.fields as isize);
        assert!(fields.addr().abs_diff(ptr::from_ref(first).addr()) < WORD.unsigned_abs());
        assert_eq!(near.clone().fields, near.fields);
        assert!(Arc::ptr_eq(&near.clone(), &near));
    }

    #[test]
    fn what_each_hit_reads_lies_in_the_lines_that_are_asked_for() {
        let here = offset_of!(Entry, refresh_from).cast_signed();
        assert!(here + FIRST_LINE * LINE * WORD <= 0);
        for read in [offset_of!(Entry, status), offset_of!(Entry, browser), offset_of!(Entry, value)] {
            assert!(read.cast_signed() <= here + LAST_LINE * LINE * WORD);
        }
    }

    /// Two words, so that a place of the engine's table with its key is two lines.
    #[test]
    fn a_slot_is_not_larger_for_it() {
        assert_eq!(size_of::<Slot>(), 2 * size_of::<usize>());
    }
}
