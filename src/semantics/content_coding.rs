//! The content codings a request accepts (RFC 9110 §12.5.3), reduced to what a cache has to tell apart.
//!
//! ```text
//! Accept-Encoding = #( codings [ OWS ";" OWS "q=" qvalue ] )
//! codings         = content-coding / "identity" / "*"
//! ```
//!
//! Clients send thousands of spellings of a few wishes, hostile ones a new spelling each time. The normal form has at
//! most 64 values, so neither splits a response into more variants than that.

use super::cache_control::is_tchar;
use http::{HeaderMap, HeaderValue, header::ACCEPT_ENCODING};

/// The codings that a request with `Accept-Encoding` accepts; `None` without that field, when any coding is acceptable.
///
/// Preferences, unknown codings and malformed elements are dropped. Of contradicting elements the refusal counts. `*`
/// stands for the codings not named; where an unknown coding is refused by name, it covers the known ones only.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::ACCEPT_ENCODING};
/// use larder::semantics::content_coding::normal;
///
/// let accepted = |says| normal(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(says))]));
/// assert_eq!(accepted("gzip, br;q=0.8"), accepted("br,x-gzip;q=0.1, unheard-of"));
/// assert_ne!(accepted("gzip, br;q=0"), accepted("gzip, br"));
/// assert_eq!(normal(&HeaderMap::new()), None);
/// ```
pub fn normal(request: &HeaderMap) -> Option<NormalCodings> {
    let mut lines = request.get_all(ACCEPT_ENCODING).iter().peekable();
    lines.peek()?;
    let (mut named, mut refused, mut refuses_unknown) = (0, 0, false);
    for element in lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')) {
        let Some((coding, accepted)) = parse_element(element.trim_ascii()) else {
            continue;
        };
        match flag(coding) {
            Some(flag) if accepted => named |= flag,
            Some(flag) => refused |= flag,
            None => refuses_unknown |= !accepted,
        }
    }
    let mut bits = named & !refused;
    if bits & ANY != 0 {
        bits |= KNOWN & !refused;
    }
    if refuses_unknown {
        bits &= !ANY;
    }
    // `*;q=0` refuses identity unless it has an element of its own (RFC 9110 §12.5.3, rule 2).
    let identity_refused = refused & IDENTITY != 0 || refused & ANY != 0 && named & IDENTITY == 0;
    bits &= !IDENTITY;
    if identity_refused {
        bits |= IDENTITY;
    }
    Some(NormalCodings(bits))
}

/// The set of codings a request accepts: `zstd`, `br`, `gzip`, `deflate`, whether it accepts others (`*`), and whether
/// it refuses to have none (`identity;q=0`).
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::ACCEPT_ENCODING};
/// use larder::semantics::content_coding::normal;
///
/// let says = HeaderValue::from_static("br;q=0.2, GZIP, identity;q=0");
/// let codings = normal(&HeaderMap::from_iter([(ACCEPT_ENCODING, says)])).expect("the field is there");
/// assert!(codings.accepts("br") && !codings.accepts("zstd"));
/// assert!(!codings.accepts("identity"));
/// assert_eq!(codings.to_header_value(), "br, gzip, identity;q=0"); // what a handler is asked
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NormalCodings(u8);

impl NormalCodings {
    /// Whether a response with this one content coding is acceptable. `x-gzip` is `gzip` (RFC 9110 §8.4.1.3).
    pub fn accepts(self, coding: &str) -> bool {
        match flag(coding.as_bytes()) {
            Some(IDENTITY) => self.0 & IDENTITY == 0,
            Some(flag) => self.0 & flag != 0,
            None => self.0 & ANY != 0,
        }
    }

    /// The set as a number below 64.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// An `Accept-Encoding` value that says the same, one for each set.
    pub fn to_header_value(self) -> HeaderValue {
        if let Some((_, text)) = COMMON.iter().find(|(bits, _)| *bits == self.0) {
            return HeaderValue::from_static(text);
        }
        // The names are visible ASCII, so the fallback is never taken.
        HeaderValue::try_from(self.text()).unwrap_or_else(|_| HeaderValue::from_static("identity"))
    }

    fn text(self) -> String {
        let mut elements = Vec::with_capacity(NAMES.len() + 1);
        for (flag, accepted, refused) in NAMES {
            if self.0 & flag != 0 {
                elements.push(accepted);
            } else if self.0 & ANY != 0 {
                elements.push(refused);
            }
        }
        if self.0 & ANY != 0 {
            elements.push("*");
        }
        if self.0 & IDENTITY != 0 {
            elements.push("identity;q=0");
        }
        if elements.is_empty() {
            elements.push("identity");
        }
        elements.join(", ")
    }
}

/// The coding and whether it is accepted: `codings [ OWS ";" OWS "q=" qvalue ]`.
fn parse_element(element: &[u8]) -> Option<(&[u8], bool)> {
    let mut halves = element.splitn(2, |&byte| byte == b';');
    let coding = halves.next()?.trim_ascii_end();
    if coding.is_empty() || !coding.iter().copied().all(is_tchar) {
        return None;
    }
    let accepted = match halves.next().map(<[u8]>::trim_ascii_start) {
        None => true,
        Some([b'q' | b'Q', b'=', qvalue @ ..]) => parse_qvalue(qvalue)?,
        Some(_) => return None,
    };
    Some((coding, accepted))
}

/// Whether a quality value is above zero; `None` if it is none (RFC 9110 §12.4.2).
fn parse_qvalue(qvalue: &[u8]) -> Option<bool> {
    let (whole, fraction) = match qvalue {
        [whole] | [whole, b'.'] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    match whole {
        b'0' if fraction.iter().all(u8::is_ascii_digit) => Some(fraction.iter().any(|&digit| digit != b'0')),
        b'1' if fraction.iter().all(|&digit| digit == b'0') => Some(true),
        _ => None,
    }
}

/// The flag of a coding, its name in any case (RFC 9110 §8.4.1).
fn flag(coding: &[u8]) -> Option<u8> {
    let names: [(&[u8], u8); 7] = [
        (b"gzip", GZIP),
        (b"br", BR),
        (b"deflate", DEFLATE),
        (b"zstd", ZSTD),
        (b"identity", IDENTITY),
        (b"*", ANY),
        (b"x-gzip", GZIP),
    ];
    names.iter().find(|(name, _)| coding.eq_ignore_ascii_case(name)).map(|(_, flag)| *flag)
}

const ZSTD: u8 = 1;
const BR: u8 = 1 << 1;
const GZIP: u8 = 1 << 2;
const DEFLATE: u8 = 1 << 3;
const KNOWN: u8 = ZSTD | BR | GZIP | DEFLATE;
const ANY: u8 = 1 << 4;
/// In a [`NormalCodings`]: identity is refused.
const IDENTITY: u8 = 1 << 5;

const NAMES: [(u8, &str, &str); 4] =
    [(ZSTD, "zstd", "zstd;q=0"), (BR, "br", "br;q=0"), (GZIP, "gzip", "gzip;q=0"), (DEFLATE, "deflate", "deflate;q=0")];

/// What browsers and tools send.
const COMMON: [(u8, &str); 7] = [
    (KNOWN, "zstd, br, gzip, deflate"),
    (BR | GZIP | DEFLATE, "br, gzip, deflate"),
    (GZIP, "gzip"),
    (GZIP | DEFLATE, "gzip, deflate"),
    (BR | GZIP, "br, gzip"),
    (KNOWN | ANY, "zstd, br, gzip, deflate, *"),
    (0, "identity"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(lines: &[&[u8]]) -> HeaderMap {
        lines.iter().map(|line| (ACCEPT_ENCODING, HeaderValue::from_bytes(line).unwrap())).collect()
    }

    fn text(line: &str) -> String {
        let codings = normal(&request(&[line.as_bytes()])).unwrap();
        codings.to_header_value().to_str().unwrap().to_owned()
    }

    #[test]
    fn absent_differs_from_empty() {
        assert_eq!(normal(&HeaderMap::new()), None);
        assert_eq!(normal(&request(&[b""])).map(NormalCodings::bits), Some(0));
        assert_eq!(text(""), "identity");
    }

    #[test]
    fn reduces_to_the_normal_form() {
        for (sent, normal) in [
            ("gzip, deflate, br, zstd", "zstd, br, gzip, deflate"),
            ("GZIP;q=0.8 , x-gzip, Br ;Q=1.000", "br, gzip"),
            ("gzip;q=1.0, identity; q=0.5, *;q=0", "gzip"),
            ("compress, gzip", "gzip"),
            ("compress", "identity"),
            ("identity", "identity"),
            ("*", "zstd, br, gzip, deflate, *"),
            ("gzip;q=0, *", "zstd, br, gzip;q=0, deflate, *"),
            ("*, compress;q=0", "zstd, br, gzip, deflate"),
            ("*;q=0", "identity;q=0"),
            ("*;q=0, br", "br, identity;q=0"),
            ("*;q=0, identity;q=0.001", "identity"),
            ("identity;q=0, *", "zstd, br, gzip, deflate, *, identity;q=0"),
            ("gzip, gzip;q=0", "identity"),
            (",, gzip ,", "gzip"),
        ] {
            assert_eq!(text(sent), normal, "{sent}");
        }
        let two_lines = normal(&request(&[b"gzip", b"br"]));
        assert_eq!(two_lines, normal(&request(&[b"br, gzip"])));
    }

    #[test]
    fn drops_malformed_elements_only() {
        for bad in [
            "gzip;q=1.1",
            "gzip;q=0.1234",
            "gzip;q=0.x",
            "gzip;q=1.0000",
            "gzip;q=2",
            "gzip;q=-1",
            "gzip;q=.5",
            "gzip;q=",
            "gzip;q",
            "gzip;",
            "gzip;level=1",
            "gzip;q=1;level=1",
            "gzip;q = 1",
            "gzip br",
            "\"gzip\"",
            "gzip\u{e9}",
            ";q=1",
        ] {
            assert_eq!(text(bad), "identity", "{bad}");
            assert_eq!(text(&format!("{bad}, br")), "br", "{bad}");
        }
        assert_eq!(text("gzip;q=0., br;q=1., zstd;q=0"), "br");
        for bad in ["com press;q=0", ";q=0", "compress;q=0.x"] {
            assert_eq!(text(&format!("{bad}, *")), text("*"), "{bad} refuses nothing");
        }
    }

    #[test]
    fn accepts_what_the_request_accepted() {
        let accepts = |line: &str, coding: &str| normal(&request(&[line.as_bytes()])).unwrap().accepts(coding);
        assert!(accepts("gzip", "GZIP"));
        assert!(accepts("gzip", "x-gzip"));
        assert!(accepts("gzip", "identity"));
        assert!(!accepts("gzip", "br"));
        assert!(!accepts("gzip", "compress"));
        assert!(accepts("*", "br"));
        assert!(accepts("*", "compress"));
        assert!(!accepts("br;q=0, *", "br"));
        assert!(!accepts("compress;q=0, *", "compress"));
        assert!(!accepts("*;q=0", "identity"));
        assert!(!accepts("identity;q=0", "identity"));
    }

    #[test]
    fn every_set_is_read_back_from_its_header_value() {
        for bits in 0..64 {
            let codings = NormalCodings(bits);
            let value = codings.to_header_value();
            assert_eq!(normal(&request(&[value.as_bytes()])), Some(codings), "{value:?}");
            assert_eq!(value, codings.text());
        }
    }

    /// Any byte that `http` takes in a field value, but for the tab.
    fn value_byte() -> impl Strategy<Value = u8> {
        prop_oneof![32..=126_u8, 128..=255_u8]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn normal_form_is_stable(
            elements in prop::collection::vec(
                r"( ?(gzip|br|zstd|deflate|\*|identity|x-gzip|compress)|[ -~]{1,4})(;q=[01](\.[0-9]{1,4})?)?",
                0..6,
            ),
        ) {
            let codings = normal(&request(&[elements.join(",").as_bytes()])).unwrap();
            prop_assert!(codings.bits() < 64);
            let value = codings.to_header_value();
            prop_assert_eq!(normal(&request(&[value.as_bytes()])), Some(codings));
        }

        #[test]
        fn any_bytes_are_read(line in prop::collection::vec(value_byte(), 0..60)) {
            prop_assert!(normal(&request(&[&line])).unwrap().bits() < 64);
        }
    }
}
