//! A record of a shared log, whatever is in it: it is read and selects something, or stands for everything; what is read is
//! written and read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| larder::fuzzing::record(text));
