//! What the fuzz target of the codec does, and the tests with what it found.

use super::{
    Codec, Fault, Flags, Sealed, StoreKey,
    frame::{OPENING, PREFIX, SUM},
};
use bytes::Bytes;
use rapidhash::v3::rapidhash_v3;

/// Opens and glimpses at these bytes, as they are and with right checksums. Whatever opens is sealed again, and then opens as the
/// same.
pub(crate) fn codec(bytes: &[u8]) {
    let codec = Codec { compress_from: Some(64), ring: None, largest: LARGEST };
    let _ = check(&codec, bytes);
    let _ = check(&codec, &mend(bytes));
    check_encrypted(bytes);
}

/// The bytes with their checksums set right, if they are a frame.
pub(super) fn mend(bytes: &[u8]) -> Vec<u8> {
    let mut mended = bytes.to_vec();
    let head =
        bytes.get(OPENING..).and_then(|rest| rest.first_chunk()).map(|length| u32::from_le_bytes(*length) as usize);
    let Some((sum, start)) = head.map(|head| (PREFIX + head, PREFIX + head + SUM)) else { return mended };
    if let Some(body) = bytes.get(start..) {
        mended[OPENING + 4..OPENING + 12].copy_from_slice(&(body.len() as u64).to_le_bytes());
        mended[PREFIX - SUM..PREFIX].copy_from_slice(&rapidhash_v3(body).to_le_bytes());
        let digest = rapidhash_v3(&mended[..sum]);
        mended[sum..start].copy_from_slice(&digest.to_le_bytes());
    }
    mended
}

pub(super) fn place() -> StoreKey {
    StoreKey::new("shop:e1:0123456789abcdef").expect("printable ASCII")
}

/// Opens, and if that can be done, seals and opens again.
fn check(codec: &Codec, bytes: &[u8]) -> Result<Sealed, Fault> {
    let place = place();
    let glimpse = codec.peek(bytes, &place);
    let _ = codec.peek(&bytes[..bytes.len() / 2], &place);
    let opened = codec.open(Bytes::copy_from_slice(bytes), &place)?;
    let glimpse = glimpse.expect("what opens can be glimpsed at");
    if let Sealed::Parcel(parcel) = &opened {
        assert!(parcel.key == glimpse.key && parcel.tags == glimpse.tags && parcel.body.len() as u64 == glimpse.size);
        assert!(!Flags::read(bytes)?.is_compressed() || parcel.body.len() <= codec.largest);
    }
    let sealed = codec.seal(&opened, &place).expect("what was opened can be sealed");
    let again = codec.open(sealed.clone(), &place).expect("what was sealed opens");
    assert_eq!(format!("{opened:?}"), format!("{again:?}"));
    if codec.ring.is_none() {
        assert_eq!(codec.seal(&again, &place).as_ref(), Ok(&sealed));
    }
    Ok(opened)
}

/// As they are, and as what is within an encrypted frame.
#[cfg(feature = "encrypt")]
fn check_encrypted(bytes: &[u8]) {
    use super::{encrypting, wire::Writer};

    let ring = crate::KeyRing::new("2026-11", [7; 32]).expect("a short name");
    let codec = Codec { compress_from: None, ring: Some(ring.clone()), largest: LARGEST };
    let _ = check(&codec, bytes);
    let mut out = Writer(Vec::new());
    let begun = encrypting::begin(&ring, &mut out).expect("randomness");
    out.raw(&mend(bytes));
    encrypting::end(&ring, &mut out, begun, &place()).expect("short enough");
    let _ = check(&codec, &out.0);
}

#[cfg(not(feature = "encrypt"))]
fn check_encrypted(_: &[u8]) {}

const LARGEST: usize = 1 << 20;
