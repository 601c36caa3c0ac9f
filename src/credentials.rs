//! What looks like a credential, and how it is shown.

use http::{
    HeaderName, HeaderValue,
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

/// Further request fields that say who asks: API keys, and what proxies that authenticate tell of the user. The shortest
/// first, those of one length sorted.
pub(crate) const API_KEYS: [&str; 34] = [
    "apikey",
    "api-key",
    "x-api-key",
    "client-cert",
    "remote-user",
    "x-auth-token",
    "private-token",
    "x-client-cert",
    "x-remote-user",
    "x-access-token",
    "x-webauth-user",
    "x-session-token",
    "x-amzn-oidc-data",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-ssl-client-cert",
    "x-ssl-client-s-dn",
    "x-auth-request-user",
    "x-ssl-client-verify",
    "x-amzn-oidc-identity",
    "x-auth-request-email",
    "x-ms-client-principal",
    "cf-access-jwt-assertion",
    "x-amzn-oidc-accesstoken",
    "x-forwarded-access-token",
    "x-goog-iap-jwt-assertion",
    "x-ms-client-principal-id",
    "x-ms-client-principal-name",
    "x-auth-request-access-token",
    "x-goog-authenticated-user-id",
    "x-forwarded-preferred-username",
    "x-goog-authenticated-user-email",
    "x-auth-request-preferred-username",
    "cf-access-authenticated-user-email",
];

/// Whether a request field of this name is one of [`API_KEYS`].
pub(crate) fn is_api_key(name: &str) -> bool {
    API_KEYS.binary_search_by(|key| key.len().cmp(&name.len()).then_with(|| (*key).cmp(name))).is_ok()
}

/// Whether such a field says that nobody has said who asks: nginx does, of each client without a certificate.
pub(crate) fn says_nobody(name: &HeaderName, value: &HeaderValue) -> bool {
    name.as_str() == "x-ssl-client-verify" && value == "NONE"
}

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
    fn api_keys_are_sorted() {
        assert!(API_KEYS.is_sorted_by_key(|name| (name.len(), *name)));
        assert!(API_KEYS.iter().all(|name| is_api_key(name)));
        assert!(!is_api_key("x-request-id") && !is_api_key("") && !is_api_key("api-keys"));
    }

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
