//! Bytes that were changed, cut off, or made to hurt.

use super::{
    super::{
        frame::{OPENING, VERSION},
        fuzzing::{mend, place},
        *,
    },
    LARGEST, compressing, encrypting, plain,
    samples::{assert_same, long, response, sign, value, varied},
};

/// All kinds, each with its codec.
fn all() -> Vec<(Codec, Bytes)> {
    let of = |codec: Codec, what: &Sealed| {
        let bytes = codec.seal(what, &place()).unwrap();
        (codec, bytes)
    };
    vec![
        of(plain(), &response()),
        of(plain(), &varied()),
        of(plain(), &value()),
        of(plain(), &sign()),
        of(compressing(), &long()),
        of(encrypting(), &varied()),
    ]
}

fn open(codec: &Codec, bytes: &[u8]) -> Result<Sealed, Fault> {
    codec.open(Bytes::copy_from_slice(bytes), &place())
}

/// A frame with this head before its body.
fn with_head(flags: u8, head: &[u8], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(head.len()).unwrap().to_le_bytes();
    mend(&[b"LRD\x01", &[flags][..], &length, &[0; 16], head, &[0; 8], body].concat())
}

fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag][..], &(content.len() as u32).to_le_bytes(), content].concat()
}

/// The head of a sealed thing.
fn head(bytes: &[u8]) -> Vec<u8> {
    bytes[Frame::read(bytes).unwrap().head].to_vec()
}

#[test]
fn a_part_of_it_is_a_fault() {
    for (codec, bytes) in all() {
        for end in 0..bytes.len() {
            let fault = open(&codec, &bytes[..end]).unwrap_err();
            assert!(matches!(fault, Fault::Truncated | Fault::Sealed), "{end}: {fault:?}");
        }
        assert!(open(&codec, &[&bytes[..], b"x"].concat()).is_err());
    }
}

#[test]
fn a_flipped_bit_is_a_fault() {
    for (codec, bytes) in all() {
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&codec, &changed).is_err(), "bit {bit} of {codec:?}");
        }
    }
}

#[test]
fn a_flipped_bit_with_right_checksums_never_panics() {
    for (codec, bytes) in all() {
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = mend(&changed);
            let _ = (open(&codec, &changed), codec.peek(&changed, &place()));
        }
    }
}

#[test]
fn others_bytes_are_foreign_or_of_another_version() {
    let sealed = plain().seal(&response(), &place()).unwrap();
    for (bytes, expected) in [
        (&b""[..], Fault::Truncated),
        (b"LR", Fault::Truncated),
        (b"LRX", Fault::Foreign),
        (b"x", Fault::Foreign),
        (b"{\"json\":true}", Fault::Foreign),
        (&[0; 64], Fault::Foreign),
        (b"LRD\x02\x00", Fault::Version(2)),
        (b"LRD\x00\x00", Fault::Version(0)),
        (b"LRD\x01\x10", Fault::Newer("flags")),
        (b"LRD\x01\x03", Fault::Newer("flags")),
    ] {
        assert_eq!(open(&plain(), bytes).unwrap_err(), expected, "{bytes:?}");
        assert_eq!(plain().peek(bytes, &place()).unwrap_err(), expected, "{bytes:?}");
        assert_eq!(open(&encrypting(), bytes).unwrap_err(), expected, "{bytes:?}");
        assert_eq!(expected.as_str() == "version", matches!(expected, Fault::Version(_) | Fault::Newer(_)));
    }
    assert_eq!(sealed[3], VERSION);
    let other = [&sealed[..3], &[9], &sealed[4..]].concat();
    assert_eq!(open(&plain(), &other).unwrap_err(), Fault::Version(9));
}

#[test]
fn lengths_that_are_not_there_are_faults() {
    let sealed = plain().seal(&varied(), &place()).unwrap();
    for length in [1 << 63, u64::MAX, u64::from(u32::MAX), 1 << 40, sealed.len() as u64] {
        let body = [&sealed[..OPENING + 4], &length.to_le_bytes(), &sealed[OPENING + 12..]].concat();
        assert_eq!(open(&plain(), &body).unwrap_err(), Fault::Truncated);
    }
    for length in [u32::MAX, 1 << 31, sealed.len() as u32] {
        let head = [&sealed[..OPENING], &length.to_le_bytes(), &sealed[OPENING + 4..]].concat();
        assert_eq!(open(&plain(), &head).unwrap_err(), Fault::Truncated);
    }
    let lengths = [&[0xff; 2][..], &[0xff; 4], &[0xff, 0x7f], &[0, 4, 1, 0, b'a']];
    let head = head(&sealed);
    for tag in 1..12 {
        for content in lengths {
            // In the place of the field, all others as they were.
            let mut left = &head[..];
            let mut changed = Vec::new();
            while let [old, l1, l2, l3, l4, rest @ ..] = left {
                let (content_of, rest) = rest.split_at(u32::from_le_bytes([*l1, *l2, *l3, *l4]) as usize);
                changed.extend(field(*old, if *old == tag { content } else { content_of }));
                left = rest;
            }
            let bytes = with_head(0, &changed, b"body");
            match open(&plain(), &bytes) {
                Err(Fault::Field(_)) => {}
                // Key and selecting values may be any bytes; a size and variants it does not have.
                Ok(_) => assert!(matches!(tag, 1 | 2 | 7 | 11), "{tag} {content:?}"),
                Err(fault) => panic!("{tag} {content:?}: {fault:?}"),
            }
            let unbounded = [&[tag][..], &[0xff; 4], content].concat();
            assert!(open(&plain(), &with_head(0, &unbounded, b"")).is_err());
        }
    }
}

#[test]
fn counts_take_no_room_before_they_are_known_to_be_true() {
    // The most that a head of a few bytes can ask for is a count of lines, which has to be there.
    let sealed = plain().seal(&value(), &place()).unwrap();
    for tag in [6, 8, 9, 10] {
        for count in [1_u16, 1024, 1025, u16::MAX] {
            let content = [&count.to_le_bytes()[..], &[0; 2]].concat();
            let head = [head(&sealed), field(tag, &content)].concat();
            assert!(matches!(open(&plain(), &with_head(1, &head, b"")).unwrap_err(), Fault::Field(_)), "{tag} {count}");
        }
    }
}

#[test]
fn fields_come_once_and_in_order() {
    let sealed = plain().seal(&varied(), &place()).unwrap();
    let head = head(&sealed);
    for wrong in [[head.clone(), field(1, b"k")].concat(), [head.clone(), field(10, &[0, 0])].concat()] {
        assert_eq!(open(&plain(), &with_head(0, &wrong, b"")).unwrap_err(), Fault::Field("order"));
    }
    assert_eq!(open(&plain(), &with_head(0, &[], b"")).unwrap_err(), Fault::Field("facts"));
    assert_eq!(open(&plain(), &with_head(2, &[], b"")).unwrap_err(), Fault::Field("key"));
    let cut = [head, vec![200, 1]].concat();
    assert_eq!(open(&plain(), &with_head(0, &cut, b"")).unwrap_err(), Fault::Field("head"));
}

#[test]
fn what_a_newer_version_adds_is_skipped_or_a_miss() {
    let sealed = plain().seal(&varied(), &place()).unwrap();
    let frame = Frame::read(&sealed).unwrap();
    let (head, body) = (head(&sealed), &sealed[frame.body]);
    let skipped = [head.clone(), field(129, b"more"), field(255, &[0; 300])].concat();
    let bytes = with_head(0, &skipped, body);
    assert_same(&open(&plain(), &bytes).unwrap(), &varied());
    assert!(plain().peek(&bytes, &place()).is_ok());
    let needed = [head.clone(), field(127, b"meaning")].concat();
    assert_eq!(open(&plain(), &with_head(0, &needed, body)).unwrap_err(), Fault::Newer("field"));
    let facts = head.windows(3).position(|window| window == [4, 111, 0]).unwrap();
    let mut bits = head;
    bits[facts + 5 + 2] |= 1 << 5;
    assert_eq!(open(&plain(), &with_head(0, &bits, body)).unwrap_err(), Fault::Newer("facts"));
}

#[test]
fn a_body_is_no_longer_than_allowed_and_than_it_says() {
    let Sealed::Parcel(mut parcel) = long() else { unreachable!("it is a parcel") };
    parcel.body = vec![b' '; LARGEST].into();
    let bomb = Sealed::Parcel(parcel);
    let bytes = compressing().seal(&bomb, &place()).unwrap();
    assert!(bytes.len() < LARGEST / 100);
    assert!(open(&compressing(), &bytes).is_ok());
    let smaller = Codec { largest: LARGEST - 1, ..plain() };
    assert_eq!(open(&smaller, &bytes).unwrap_err(), Fault::TooLarge);

    // It says it is shorter, or longer, than the frame of zstd does.
    let frame = Frame::read(&bytes).unwrap();
    let (head, body) = (head(&bytes), &bytes[frame.body]);
    let size = head.windows(5).position(|window| window == [2, 8, 0, 0, 0]).unwrap() + 5;
    for (claim, expected) in [
        (10, Fault::Compression),
        (LARGEST as u64 - 1, Fault::Compression),
        (LARGEST as u64 + 1, Fault::TooLarge),
        (u64::MAX, Fault::TooLarge),
    ] {
        let mut lie = head.clone();
        lie[size..size + 8].copy_from_slice(&claim.to_le_bytes());
        assert_eq!(open(&plain(), &with_head(4, &lie, body)).unwrap_err(), expected, "{claim}");
    }
    // A second frame behind the first, a part of the first, and none.
    let (twice, part) = ([body, body].concat(), &body[..body.len() / 2]);
    for body in [&twice[..], part, b"", b"no frame"] {
        assert_eq!(open(&plain(), &with_head(4, &head, body)).unwrap_err(), Fault::Compression);
    }
    // The flag without the size, and the size without the flag.
    assert_eq!(open(&plain(), &with_head(0, &head, body)).unwrap_err(), Fault::Field("size"));
    let without = [&head[..size - 5], &head[size + 8..]].concat();
    assert_eq!(open(&plain(), &with_head(4, &without, body)).unwrap_err(), Fault::Field("size"));
}

#[test]
fn an_encrypted_one_within_an_encrypted_one_is_a_fault() {
    let codec = encrypting();
    let ring = codec.ring.as_ref().unwrap();
    let inner = codec.seal(&value(), &place()).unwrap();
    let mut out = Writer(Vec::new());
    let begun = encrypting::begin(ring, &mut out).unwrap();
    out.raw(&inner);
    encrypting::end(ring, &mut out, begun, &place()).unwrap();
    assert_eq!(open(&codec, &out.0).unwrap_err(), Fault::Field("flags"));
}
