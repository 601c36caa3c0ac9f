//! Keys while they are made: how their parts are encoded, and found again.

use super::Part;

/// A key while it is made, on the stack as long as it is of usual size.
#[derive(Clone, Debug)]
pub(crate) struct KeyBuf {
    short: [u8; 256],
    length: usize,
    /// All of it, once it is longer.
    long: Vec<u8>,
}

impl KeyBuf {
    /// Begins as another one.
    #[inline]
    pub(crate) fn begun_as(prefix: &Self) -> Self {
        if prefix.long.is_empty() {
            return Self { short: prefix.short, length: prefix.length, long: Vec::new() };
        }
        prefix.clone()
    }

    /// Begins anew, with nothing.
    pub(crate) fn clear(&mut self) {
        self.length = 0;
        self.long.clear();
    }

    /// Goes on with parts that are encoded already.
    #[inline]
    pub(crate) fn encoded(&mut self, parts: &[u8]) {
        self.push(parts);
    }

    /// Writes a part with one value.
    #[inline]
    pub(crate) fn part(&mut self, part: Part, value: &[u8]) {
        let end = self.length + HEAD + value.len();
        match self.short.get_mut(self.length..end).and_then(<[u8]>::split_first_chunk_mut) {
            Some((head, rest)) => {
                *head = begun(part, value.len());
                rest.copy_from_slice(value);
                self.length = end;
            }
            None => self.part_elsewhere(part, value),
        }
    }

    /// A part that there is no room for on the stack.
    #[cold]
    fn part_elsewhere(&mut self, part: Part, value: &[u8]) {
        self.push(&begun(part, value.len()));
        self.push(value);
    }

    /// Writes a part with one value, each byte as it stands in this table, or nothing if one is zero there.
    #[inline]
    pub(crate) fn part_by(&mut self, part: Part, value: &[u8], table: &[u8; 256]) -> bool {
        let end = self.length + HEAD + value.len();
        let place = self.short.get_mut(self.length..end).and_then(<[u8]>::split_first_chunk_mut);
        let Some((head, rest)) = place else { return false };
        *head = begun(part, value.len());
        // On the way: bytes that were just written are slow to read.
        let mut all = true;
        for (place, byte) in rest.iter_mut().zip(value) {
            let written = table[usize::from(*byte)];
            *place = written;
            all &= written != 0;
        }
        if all {
            self.length = end;
        }
        all
    }

    /// Writes a part with one value in lower case, for what is compared without case.
    #[inline]
    pub(crate) fn part_lowercase(&mut self, part: Part, value: &str) {
        self.push(&begun(part, value.len()));
        let end = self.length + value.len();
        match self.short.get_mut(self.length..end) {
            // On the way: bytes that were just written are slow to read.
            Some(place) => {
                for (place, byte) in place.iter_mut().zip(value.bytes()) {
                    *place = byte.to_ascii_lowercase();
                }
                self.length = end;
            }
            None => self.push(value.to_ascii_lowercase().as_bytes()),
        }
    }

    /// Writes a part that has a name and any number of values in order, such as the lines of a field.
    pub(crate) fn part_named<'a>(&mut self, part: Part, name: &str, values: impl Iterator<Item = &'a [u8]>) {
        self.push(&begun(part, 0));
        let start = self.length;
        self.bytes(name.as_bytes());
        for value in values {
            self.bytes(value);
        }
        let length = length(self.length - start);
        let written = if self.long.is_empty() { &mut self.short[..] } else { &mut self.long[..] };
        written[start - 4..start].copy_from_slice(&length);
    }

    fn bytes(&mut self, value: &[u8]) {
        self.push(&length(value.len()));
        self.push(value);
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        match self.short.get_mut(self.length..end) {
            Some(place) => place.copy_from_slice(bytes),
            None => {
                if self.long.is_empty() {
                    self.long.extend_from_slice(&self.short[..self.length]);
                }
                self.long.extend_from_slice(bytes);
            }
        }
        self.length = end;
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        if self.long.is_empty() { &self.short[..self.length] } else { &self.long }
    }
}

impl Default for KeyBuf {
    fn default() -> Self {
        Self { short: [0; 256], length: 0, long: Vec::new() }
    }
}

/// What stands before the value of a part.
#[inline]
fn begun(part: Part, value: usize) -> [u8; HEAD] {
    let [a, b, c, d] = length(value);
    [part as u8, a, b, c, d]
}

/// The length of [`begun`].
pub(super) const HEAD: usize = 5;

/// Requests are bounded far below this; what would not fit is told apart by the cap, never wrapped.
fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

/// The values of an attribute of the identity in an encoded key, as they are encoded there; nothing if it has none.
pub(crate) fn attribute<'a>(mut key: &'a [u8], name: &str) -> &'a [u8] {
    // Who asks is written before the method, or the name of a value.
    let end = [Part::Method as u8, Part::Value as u8];
    while let Some((tag, rest)) = key.split_first().filter(|(tag, _)| !end.contains(*tag)) {
        let Some((value, rest)) = split_value(rest) else { break };
        if *tag == Part::Identity as u8
            && let Some((found, values)) = split_value(value)
            && found == name.as_bytes()
        {
            return values;
        }
        key = rest;
    }
    &[]
}

/// The value that begins here, after its length, and what comes behind it.
pub(super) fn split_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::{Key, KeyRef, text::parts};
    use super::*;
    use crate::semantics::target::PLAIN_HOST;
    use quick_cache::Equivalent;

    #[test]
    fn absent_differs_from_empty() {
        let mut empty = KeyBuf::default();
        empty.part(Part::Query, b"");
        assert_ne!(empty.as_bytes(), KeyBuf::default().as_bytes());
        let (mut none, mut one) = (KeyBuf::default(), KeyBuf::default());
        none.part_named(Part::Header, "a", std::iter::empty());
        one.part_named(Part::Header, "a", std::iter::once(&b""[..]));
        assert_ne!(none.as_bytes(), one.as_bytes());
    }

    #[test]
    fn an_attribute_is_found_by_its_name_alone() {
        let mut key = KeyBuf::default();
        key.part(Part::Namespace, b"tenant");
        assert_eq!(attribute(key.as_bytes(), "tenant"), b"");
        key.part_named(Part::Identity, "role", [&b"tenant"[..], b"b"].into_iter());
        key.part_named(Part::Identity, "tenant", std::iter::once(&b"a"[..]));
        let identified = key.clone();
        key.part(Part::Method, b"GET");
        key.part_named(Part::Header, "tenant", std::iter::once(&b"c"[..]));
        assert_eq!(attribute(key.as_bytes(), "tenant"), b"\x01\0\0\0a");
        assert_eq!(attribute(key.as_bytes(), "role"), b"\x06\0\0\0tenant\x01\0\0\0b");
        assert_eq!(attribute(key.as_bytes(), "user"), b"");
        for end in 0..identified.as_bytes().len() {
            assert_eq!(attribute(&identified.as_bytes()[..end], "tenant"), b"", "cut off at {end}");
        }
    }

    #[test]
    fn a_plain_host_is_written_as_any_other() {
        for host in ["shop.example", "Shop.EXAMPLE", "", "a", "127.0.0.1", "x_y~z"] {
            let (mut plain, mut any) = (KeyBuf::default(), KeyBuf::default());
            assert!(plain.part_by(Part::Authority, host.as_bytes(), &PLAIN_HOST), "{host}");
            any.part_lowercase(Part::Authority, host);
            assert_eq!(plain.as_bytes(), any.as_bytes(), "{host}");
        }
        let long = "a".repeat(300);
        for host in ["a:80", "[::1]", "a@b", "a/b", "a b", "a,b", "\u{e9}", &long] {
            let mut key = KeyBuf::default();
            key.part(Part::Method, b"GET");
            let before = key.as_bytes().to_vec();
            assert!(!key.part_by(Part::Authority, host.as_bytes(), &PLAIN_HOST), "{host}");
            assert_eq!(key.as_bytes(), before, "{host}");
        }
    }

    #[test]
    fn a_key_goes_on_where_another_ended_or_begins_anew() {
        for length in [10, 200, 256 - HEAD, 257 - HEAD, 1000] {
            let (mut prefix, mut whole) = (KeyBuf::default(), KeyBuf::default());
            for key in [&mut prefix, &mut whole] {
                key.part(Part::Namespace, &vec![b'n'; length]);
            }
            let mut key = KeyBuf::begun_as(&prefix);
            for key in [&mut key, &mut whole] {
                key.part(Part::Path, b"/path");
            }
            assert_eq!(key.as_bytes(), whole.as_bytes(), "{length}");
            key.clear();
            assert_eq!(key.as_bytes(), b"");
            key.encoded(prefix.as_bytes());
            assert_eq!(key.as_bytes(), prefix.as_bytes());
        }
    }

    #[test]
    fn hosts_are_written_in_lower_case() {
        let (mut a, mut b) = (KeyBuf::default(), KeyBuf::default());
        a.part_lowercase(Part::Authority, "Shop.Example");
        b.part_lowercase(Part::Authority, "shop.example");
        assert_eq!(a.as_bytes(), b.as_bytes());
    }

    /// What is longer than usual goes elsewhere, at whatever part that begins: the bytes are the same.
    #[test]
    fn a_key_of_any_length_is_read_as_it_was_written() {
        for length in (0..=300).chain([1000, 70_000]) {
            let path = "P".repeat(length);
            let mut key = KeyBuf::default();
            key.part(Part::Namespace, b"shop");
            key.part_named(Part::Header, "a", [path.as_bytes(), b""].into_iter());
            key.part(Part::Path, path.as_bytes());
            key.part_lowercase(Part::Authority, &path);
            key.part_named(Part::Cookie, "b", [path.as_bytes()].into_iter());
            let expected = [
                (Part::Namespace, b"shop".to_vec()),
                (Part::Header, named(&["a", &path, ""])),
                (Part::Path, path.as_bytes().to_vec()),
                (Part::Authority, path.to_ascii_lowercase().into_bytes()),
                (Part::Cookie, named(&["b", &path])),
            ];
            let read: Vec<_> = parts(key.as_bytes()).map(|(part, value)| (part, value.to_vec())).collect();
            assert_eq!(read, expected, "{length}");
            let mut again = KeyBuf::default();
            again.encoded(key.as_bytes());
            assert_eq!(again.as_bytes(), key.as_bytes());
        }
    }

    /// Each with its length before it.
    fn named(texts: &[&str]) -> Vec<u8> {
        texts
            .iter()
            .flat_map(|text| [&u32::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat())
            .collect()
    }

    /// What does not fit is left to whoever can write it elsewhere; what just fits is written.
    #[test]
    fn a_part_by_a_table_is_written_where_there_is_room() {
        for (length, fits) in [(256 - HEAD, true), (257 - HEAD, false)] {
            let (mut key, mut other) = (KeyBuf::default(), KeyBuf::default());
            assert_eq!(key.part_by(Part::Authority, &vec![b'a'; length], &PLAIN_HOST), fits, "{length}");
            other.part(Part::Authority, &vec![b'a'; length]);
            assert_eq!(key.as_bytes(), if fits { other.as_bytes() } else { b"" });
        }
    }

    #[test]
    fn a_borrowed_key_is_found_as_its_own() {
        let (mut a, mut b) = (KeyBuf::default(), KeyBuf::default());
        a.part(Part::Path, b"/a");
        b.part(Part::Path, b"/b");
        assert!(KeyRef(a.as_bytes()).equivalent(&Key::from(&a)) && !KeyRef(a.as_bytes()).equivalent(&Key::from(&b)));
    }
}
