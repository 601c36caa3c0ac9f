//! What a store gives back: any bytes. They open or are refused, and what opens is sealed and opened again as the same. With
//! checksums as they are, with right ones, and within an encrypted frame. Seeds are the files of `tests/golden`, and
//! what was found.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| larder::fuzzing::codec(data));
