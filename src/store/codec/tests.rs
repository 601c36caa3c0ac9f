//! What is sealed opens as it was, whatever it is; what is changed does not open.

mod damage;
mod golden;
mod samples;

use super::{fuzzing::place, *};
use crate::store::{Parcel, Signpost};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use samples::{assert_same, parcel, signpost, varied};

pub(super) const LARGEST: usize = 1 << 20;

/// Writes everything as it is.
pub(super) fn plain() -> Codec {
    Codec { compress_from: None, ring: None, largest: LARGEST }
}

pub(super) fn compressing() -> Codec {
    Codec { compress_from: Some(4096), ..plain() }
}

pub(super) fn encrypting() -> Codec {
    Codec { ring: Some(KeyRing::new("2026-11", [11; 32]).unwrap()), ..plain() }
}

/// What the codec makes of it and reads again.
fn round(codec: &Codec, what: &Sealed) -> (Bytes, Sealed) {
    let sealed = codec.seal(what, &place()).unwrap();
    let opened = codec.open(sealed.clone(), &place()).unwrap();
    (sealed, opened)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn all_comes_back(parcel in parcel(), cut in any::<prop::sample::Index>()) {
        let facts = (parcel.key.clone(), parcel.tags.clone(), parcel.body.len() as u64, parcel.received);
        let sealed = Sealed::Parcel(Box::new(parcel));
        for codec in [plain(), Codec { compress_from: Some(0), ..plain() }, encrypting()] {
            let (bytes, opened) = round(&codec, &sealed);
            assert_same(&sealed, &opened);
            let glimpse = codec.peek(&bytes, &place()).unwrap();
            let seen = glimpse.facts.unwrap();
            prop_assert_eq!((glimpse.key, glimpse.tags, glimpse.size, seen.received), facts.clone());
            // Less of it tells the same, or that it is too little.
            match codec.peek(&bytes[..cut.index(bytes.len())], &place()) {
                Ok(less) => prop_assert_eq!((less.key, less.tags, less.size, less.facts.unwrap().received), facts.clone()),
                Err(fault) => prop_assert!(matches!(fault, Fault::Truncated | Fault::Sealed), "{:?}", fault),
            }
        }
    }

    #[test]
    fn signposts_come_back(signpost in signpost()) {
        let sealed = Sealed::Signpost(signpost.clone());
        for codec in [plain(), compressing(), encrypting()] {
            let (bytes, opened) = round(&codec, &sealed);
            assert_same(&sealed, &opened);
            let glimpse = codec.peek(&bytes, &place()).unwrap();
            prop_assert_eq!((glimpse.key, glimpse.size, glimpse.facts), (signpost.key.clone(), 0, None));
        }
    }

    #[test]
    fn anything_is_a_fault_or_opens(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzzing::codec(&bytes);
        fuzzing::codec(&[b"LRD\x01\x00", &bytes[..]].concat());
    }

    #[test]
    fn what_is_changed_and_has_right_checksums_is_a_fault_or_opens(
        parcel in parcel(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let sealed = plain().seal(&Sealed::Parcel(Box::new(parcel)), &place()).unwrap();
        let mut changed = sealed.to_vec();
        changed[at.index(sealed.len())] = byte;
        fuzzing::codec(&changed);
    }
}

#[test]
fn the_body_is_not_copied_and_alone_keeps_the_reply() {
    let sealed = plain().seal(&varied(), &place()).unwrap();
    let range = sealed.as_ptr_range();
    let Sealed::Parcel(parcel) = plain().open(sealed.clone(), &place()).unwrap() else { panic!("a parcel") };
    let within = |bytes: &[u8]| range.contains(&bytes.as_ptr());
    assert!(within(&parcel.body));
    assert!(!within(&parcel.key) && !within(&parcel.selecting));
    assert!(parcel.head.values().all(|value| !within(value.as_bytes())));
}

#[test]
fn what_nobody_else_holds_is_decrypted_where_it_is() {
    let sealed = encrypting().seal(&varied(), &place()).unwrap();
    let range = sealed.as_ptr_range();
    let Sealed::Parcel(parcel) = encrypting().open(sealed, &place()).unwrap() else { panic!("a parcel") };
    assert!(range.contains(&parcel.body.as_ptr()));
}

#[test]
fn text_is_compressed_from_a_length_on_where_it_is_worth_it() {
    let of = |length: usize, kind: &'static str| Parcel {
        head: HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static(kind))]),
        body: "all the same ".repeat(length).into_bytes().split_off(12 * length).into(),
        ..samples::empty()
    };
    let is_compressed = |parcel: Parcel| {
        let (bytes, _) = round(&compressing(), &Sealed::Parcel(Box::new(parcel)));
        Flags::read(&bytes).unwrap().is_compressed()
    };
    assert!(is_compressed(of(4096, "application/json")));
    assert!(!is_compressed(of(4095, "application/json")));
    assert!(!is_compressed(of(4096, "image/png")));
    assert!(!is_compressed(of(LARGEST + 1, "application/json")));
    assert!(is_compressed(of(LARGEST, "application/json")));
    // What does not get shorter by an eighth is left.
    let noise: Vec<u8> = (0..8192_u32).map(|at| rapidhash::v3::rapidhash_v3(&at.to_le_bytes()) as u8).collect();
    assert!(!is_compressed(Parcel { body: noise.into(), ..samples::empty() }));
}

#[test]
fn old_keys_are_read_and_not_written() {
    let ring = |name, key| KeyRing::new(name, [key; 32]).unwrap();
    let old = Codec { ring: Some(ring("2026-05", 5)), ..plain() };
    let both = Codec { ring: Some(ring("2026-11", 11).and_old("2026-05", [5; 32]).unwrap()), ..plain() };
    let (by_old, by_both) = (old.seal(&varied(), &place()).unwrap(), both.seal(&varied(), &place()).unwrap());
    assert_same(&both.open(by_old.clone(), &place()).unwrap(), &varied());
    assert_same(&encrypting().open(by_both.clone(), &place()).unwrap(), &varied());
    assert_eq!(old.open(by_both.clone(), &place()).unwrap_err(), Fault::Sealed);
    assert_eq!(encrypting().open(by_old, &place()).unwrap_err(), Fault::Sealed);
    // The same name for another key.
    let other = Codec { ring: Some(ring("2026-11", 12)), ..plain() };
    assert_eq!(other.open(by_both.clone(), &place()).unwrap_err(), Fault::Sealed);
    assert_ne!(both.seal(&varied(), &place()).unwrap(), by_both, "the nonce is random");
}

#[test]
fn an_encrypted_one_tells_nothing_and_opens_in_its_place_only() {
    let (bytes, opened) = round(&encrypting(), &varied());
    assert_same(&opened, &varied());
    for part in ["dashboard", "etag", "tenant", "LRD"] {
        let part = part.as_bytes();
        assert!(!bytes[5..].windows(part.len()).any(|window| window == part), "{part:?}");
    }
    let elsewhere = StoreKey::new("shop:e1:another").unwrap();
    assert_eq!(encrypting().open(bytes.clone(), &elsewhere).unwrap_err(), Fault::Sealed);
    assert_eq!(encrypting().peek(&bytes, &elsewhere).unwrap_err(), Fault::Sealed);
    assert_eq!(encrypting().peek(&bytes[..bytes.len() - 1], &place()).unwrap_err(), Fault::Sealed);
    assert_eq!(plain().open(bytes, &place()).unwrap_err(), Fault::Sealed);
    // Anybody who can write to the store can write one that is not encrypted.
    let unsealed = plain().seal(&varied(), &place()).unwrap();
    assert_eq!(encrypting().open(unsealed.clone(), &place()).unwrap_err(), Fault::Unsealed);
    assert_eq!(encrypting().peek(&unsealed, &place()).unwrap_err(), Fault::Unsealed);
}

#[test]
fn what_cannot_be_read_again_is_not_written() {
    let seal = |parcel| plain().seal(&Sealed::Parcel(Box::new(parcel)), &place());
    let lines = |count: usize| (0..count).map(|n| (http::header::LINK, HeaderValue::from(n))).collect::<HeaderMap>();
    let most = usize::from(lines::MOST_LINES);
    assert!(seal(Parcel { head: lines(most), ..samples::empty() }).is_ok());
    assert_eq!(seal(Parcel { head: lines(most + 1), ..samples::empty() }), Err(Fault::TooLarge));
    let tags = Tags::new((0..65).map(|n| n.to_string()));
    assert_eq!(seal(Parcel { tags, ..samples::empty() }), Err(Fault::Field("tags")));
}

#[test]
fn signposts_have_no_body() {
    let sealed = Sealed::Signpost(Signpost { key: Bytes::new(), nominated: vec![], variants: vec![] });
    let mut bytes = plain().seal(&sealed, &place()).unwrap().to_vec();
    bytes.push(b'x');
    assert_eq!(plain().open(fuzzing::mend(&bytes).into(), &place()).unwrap_err(), Fault::Field("body"));
}

#[test]
fn a_field_of_another_kind_is_as_one_that_is_not_known() {
    let open = |flags, tags: &[u8]| {
        let mut out = Writer(Vec::new());
        let empty = |out: &mut Writer| tags.iter().try_for_each(|tag| out.field(*tag, |_| Ok(())));
        Frame::write(&mut out, flags, empty, b"", 0).unwrap();
        plain().open(out.0.into(), &place()).map(|_| ())
    };
    let (key, size, nominated, variants, browser) = (1, 2, 6, 11, 128);
    assert_eq!(open(Flags::SIGNPOST, &[key, variants, browser]), Ok(()));
    for tag in (size..variants).filter(|tag| *tag != nominated) {
        assert_eq!(open(Flags::SIGNPOST, &[key, tag]), Err(Fault::Newer("field")), "{tag}");
    }
    assert_eq!(open(Flags::RESPONSE, &[key, variants]), Err(Fault::Newer("field")));
}
