//! Targets: what is not ambiguous names one host, and spelling its letters and port otherwise changes nothing.
#![no_main]

use http::{Uri, header::HOST, uri::Scheme};
use larder::semantics::target::{Ambiguous, Target, same_authority};
use larder_fuzz::{fields, lines};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(Ok(uri)) = lines(data).next().map(Uri::try_from) else { return };
    let mut headers = fields(data);
    let hosts = headers.get_all(HOST).iter().count();
    for scheme in [None, Some(Scheme::HTTP), Some(Scheme::HTTPS)] {
        let scheme = scheme.as_ref();
        let target = match Target::of(&uri, &headers, scheme) {
            Ok(target) => target,
            Err(refused) => {
                assert_eq!(refused == Ambiguous::HostRepeated, hosts > 1);
                continue;
            }
        };
        assert!(hosts <= 1);
        assert_eq!((target.path, target.query), (uri.path(), uri.query()));
        let Some(authority) = target.authority else {
            assert!(uri.authority().is_none() && hosts == 0);
            continue;
        };
        // Nothing in it that a reader could take for the end of the host, or for a second one.
        assert!(!authority.bytes().any(|byte| b"@/\\?#, \t\"<>".contains(&byte) || !byte.is_ascii_graphic()));
        let normal = target.normal_authority().expect("there is an authority");
        assert!(authority.starts_with(normal));
        let renormal = Target { authority: Some(normal), ..target }.normal_authority();
        assert_eq!(renormal, Some(normal), "the normal form is stable");
        assert!(same_authority(authority, normal, target.scheme));
        assert!(same_authority(&authority.to_ascii_uppercase(), normal, target.scheme));
        assert!(!same_authority(&format!("x{authority}"), authority, target.scheme));
        // The two agree in both directions, whoever names the host.
        if let (Some(named), Some(host)) = (uri.authority(), headers.get(HOST)) {
            let host = host.to_str().expect("it was read");
            assert!(same_authority(named.as_str(), host, target.scheme));
            assert!(same_authority(host, named.as_str(), target.scheme));
        }
    }
    headers.append(HOST, "a".parse().expect("a value"));
    headers.append(HOST, "a".parse().expect("a value"));
    assert_eq!(Target::of(&uri, &headers, None), Err(Ambiguous::HostRepeated));
});
