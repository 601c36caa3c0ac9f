//! What can be done about each reason for which nothing is stored or looked up.

/// What it means, and the change that helps, if there is one in a policy.
pub(super) fn remedy(reason: &str) -> (&'static str, Option<&'static str>) {
    match reason {
        "cookie" => (
            "its requests carry a cookie, which may say who asks",
            Some(
                ".ignore_cookies() if no answer depends on one, .key_cookies([..]) if some do, or .per_user() behind an IdentityLayer",
            ),
        ),
        "identity-missing" => (
            "the policy keys on an identity that the requests lack",
            Some(".shared() if anybody may see the answers; else put an IdentityLayer outside of the CacheLayer"),
        ),
        "identity-unclear" => ("a trusted field that says who asks is sent twice, or cannot be read", None),
        "identity-after-cache" => ("the IdentityLayer stands inside of the CacheLayer: put it outside", None),
        "credentials" => (
            "its requests carry credentials, and the answers do not say that they may be shared",
            Some(
                ".per_user() or .per_tenant() behind an IdentityLayer, or .key_headers([..]) for an API key; where all may see \
                 the answers, have the handler say Cache-Control: public",
            ),
        ),
        "set-cookie" => (
            "its answers set a cookie, which is for one client",
            Some(".strip_set_cookie() if the cookie is of no use, else set it elsewhere"),
        ),
        "private" => {
            ("its answers say private, and the policy shares them", Some(".per_user() behind an IdentityLayer"))
        }
        "no-store" => ("its answers say no-store: the handler, or a layer inside, writes that", None),
        "request-no-store" => ("its requests say no-store, and the policy honours that", None),
        "no-lifetime" => (
            "neither the answers nor the policy say how long they are fresh",
            Some(".fresh_for(..), or .status_lifetime(status, ..) for a status that has no lifetime by default"),
        ),
        "useless" => (
            "its answers are stale when they arrive, and have no validator",
            Some(".override_response() with .fresh_for(..), or an ETagLayer inside"),
        ),
        "too-large" => ("its bodies are longer than the policy allows", Some(".max_body(..)")),
        "no-room" => ("its answers do not fit into the memory tier: give it more, or a larger max_object", None),
        "too-many-tags" => ("its answers have more than 64 tags, or one of over 256 bytes", None),
        "content" | "method" => ("its requests have content or a method that is not keyed", Some(".key_body([..])")),
        "content-too-long" => ("its requests have more content than is read for a key", Some(".max_content(..)")),
        "key-too-long" => ("its keys are longer than the policy allows", Some(".max_key(..), or .query_only([..])")),
        "query-value" => ("a query parameter has none of the values that the policy lists", Some(".query_values(..)")),
        "policy" => ("a predicate of the policy says so", None),
        "handler-policy" => ("the handler's own policy contradicts that of the layer", None),
        "callback-panicked" => ("a closure of the application panics", None),
        "event-stream" => ("its answers are event streams, which are never stored", None),
        "body-failed" | "wrong-length" => ("its bodies break off, or are not as long as was declared", None),
        "status" => ("its answers have a status that no other request has a use for", None),
        "malformed-directives" => ("its Cache-Control cannot be read, and might forbid it", None),
        "request-connection" | "connection" => ("Connection names a field that tells its answers apart", None),
        "grpc-status" => ("its calls do not succeed", None),
        "ambiguous-path" => ("its paths can be read in two ways", None),
        "rewritten-url" => ("its requests have a field by which a framework may serve another path", None),
        "method-override" => ("its requests override their method", None),
        "value-conflict" => ("two values of one name say different things of themselves", None),
        "vary-any" => {
            ("its answers say Vary: *", Some(".ignore_vary([..]) does not help here: have the handler name the fields"))
        }
        _ => ("of what its requests and answers say", None),
    }
}

/// The same for people.
#[cfg(feature = "admin")]
pub(crate) fn in_a_sentence(reason: &str) -> String {
    match remedy(reason) {
        (meaning, Some(change)) => format!("{meaning}: {change}"),
        (meaning, None) => meaning.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Bypass, NotStored};

    #[test]
    fn most_reasons_have_a_text_of_their_own() {
        let words = Bypass::ALL.iter().map(|reason| reason.as_str());
        let words = words.chain(NotStored::every().iter().map(|reason| reason.as_str()));
        let plain: Vec<_> = words.filter(|word| remedy(word).0.starts_with("of what")).collect();
        // What is not worth noting, or says itself.
        let known = [
            "upgrade",
            "no-policy",
            "precondition",
            "abandoned",
            "invalidated",
            "superseded",
            "too-few-uses",
            "inner-policy",
            "observe-only",
            "identity-too-large",
            "must-understand",
        ];
        let unknown: Vec<_> = plain
            .iter()
            .filter(|word| {
                !known.contains(word) && !word.contains("vary") && !word.contains("host") && !word.contains("user")
            })
            .collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
