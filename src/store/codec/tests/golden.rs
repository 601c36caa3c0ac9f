//! Files of each released version of the format, in `tests/golden/`: what was written once is read for ever, or until its
//! version is given up. Those of a released version are never written anew.

use super::{
    super::{fuzzing::place, *},
    compressing, encrypting, plain,
    samples::{assert_same, long, own, response, sign, value, varied},
};
use std::{env, fs, path::PathBuf};

/// Name, codec, what is in it, and whether it is written the same each time.
fn all() -> Vec<(&'static str, Codec, Sealed, bool)> {
    vec![
        ("v1-response", plain(), response(), true),
        ("v1-varied", plain(), varied(), true),
        ("v1-own", plain(), own(), true),
        ("v1-value", plain(), value(), true),
        ("v1-signpost", plain(), sign(), true),
        // Another version of zstd may write it otherwise.
        ("v1-compressed", compressing(), long(), false),
        // A nonce is random.
        ("v1-encrypted", encrypting(), varied(), false),
    ]
}

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name].iter().collect::<PathBuf>().with_extension("lrd")
}

#[test]
fn golden_files_are_read_and_written() {
    let refresh = env::var_os("LARDER_GOLDEN").is_some_and(|what| what == "write");
    println!(
        "to write the files of a version that is not released yet: LARDER_GOLDEN=write cargo test -p larder golden"
    );
    for (name, codec, what, same) in all() {
        let sealed = codec.seal(&what, &place()).unwrap();
        if refresh {
            fs::write(path(name), &sealed).unwrap();
        }
        let golden = Bytes::from(fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}")));
        assert_same(&codec.open(golden.clone(), &place()).unwrap(), &what);
        let glimpse = codec.peek(&golden, &place()).unwrap();
        assert_eq!(glimpse.stored < glimpse.size, name == "v1-compressed", "{name}");
        match &what {
            Sealed::Parcel(parcel) => {
                assert_eq!((glimpse.key, glimpse.tags), (parcel.key.clone(), parcel.tags.clone()), "{name}");
                assert_eq!(glimpse.size, parcel.body.len() as u64, "{name}");
                assert_eq!(glimpse.facts.map(|facts| facts.lifetime), Some(parcel.lifetime), "{name}");
            }
            Sealed::Signpost(signpost) => assert_eq!((glimpse.key, glimpse.facts), (signpost.key.clone(), None)),
        }
        if same {
            assert_eq!(golden, sealed, "{name}: what version {} writes has changed", frame::VERSION);
        }
    }
}

#[test]
fn every_golden_file_has_a_test() {
    let names: Vec<_> = all().into_iter().map(|(name, ..)| path(name)).collect();
    for file in fs::read_dir(path("x").parent().unwrap()).unwrap() {
        let file = file.unwrap().path();
        assert!(names.contains(&file), "{}", file.display());
    }
}
