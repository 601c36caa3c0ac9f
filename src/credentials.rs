//! What looks like a credential, and how it is shown.

use http::{
    HeaderName,
    header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION},
};
use std::{fmt, hash::BuildHasher, sync::LazyLock};

/// Whether a field, cookie or parameter of this name probably holds something that lets its bearer in.
pub(crate) fn is_credential_name(name: &str) -> bool {
    const PARTS: [&str; 12] = [
        "token",
        "secret",
        "passw",
        "api-key",
        "apikey",
        "api_key",
        "auth",
        "session",
        "signature",
        "cookie",
        "jwt",
        "credential",
    ];
    const WHOLE: [&str; 7] = ["key", "sid", "sig", "code", "pwd", "access", "id_token"];
    let name = name.to_ascii_lowercase();
    PARTS.iter().any(|part| name.contains(part)) || WHOLE.contains(&name.as_str())
}

/// Request fields that say who asks, by the standards.
pub(crate) const STANDARD: [HeaderName; 3] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE];

/// Request fields that say who asks, though no standard knows them.
pub(crate) const API_KEYS: [HeaderName; 4] = [
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-access-token"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-auth-token"),
];

/// Writes `#` and a short digest that tells values apart within this process and gives nothing away outside it: it is
/// seeded at random.
pub(crate) fn write_digest(f: &mut fmt::Formatter<'_>, value: &[u8]) -> fmt::Result {
    static SEED: LazyLock<std::hash::RandomState> = LazyLock::new(std::hash::RandomState::new);
    write!(f, "#{:08x}", SEED.hash_one(value) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_credentials() {
        for name in ["token", "access_token", "X-Api-Key", "sid", "Cookie", "authorization", "PASSWORD"] {
            assert!(is_credential_name(name), "{name}");
        }
        for name in ["days", "page", "keyword", "sidebar", "monkey"] {
            assert!(!is_credential_name(name), "{name}");
        }
    }
}
