//! What a path is about.

/// What a path is about, wherever the service is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Page,
    Health,
    Api(Api),
    /// None of these.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Advice,
    Audit,
    Clear,
    Dependencies,
    Entry,
    Explain,
    Explore,
    History,
    Invalidate,
    Metrics,
    Policies,
    Report,
    Status,
    Warm,
}

impl Route {
    /// What a path is about, with or without a slash at its end. `at` is where the service is mounted; without it, whatever
    /// stands before a known path is where.
    pub(super) fn of(path: &str, at: Option<&str>) -> Self {
        if let Some(at) = at {
            // Whoever has mounted it may have stripped that.
            let rest = path.strip_prefix(at).filter(|rest| rest.is_empty() || rest.starts_with('/'));
            return Self::exactly(rest.unwrap_or(path));
        }
        let whole = path.strip_suffix('/').unwrap_or(path);
        let known = match whole.rfind("/api/") {
            _ if whole.ends_with("/health") => Self::Health,
            Some(at) => Self::exactly(&whole[at..]),
            None => Self::Unknown,
        };
        match known {
            Self::Unknown if path.is_empty() || path.ends_with('/') => Self::Page,
            known => known,
        }
    }

    fn exactly(path: &str) -> Self {
        match path.strip_suffix('/').unwrap_or(path) {
            "" => Self::Page,
            "/health" => Self::Health,
            path => path.strip_prefix("/api/").and_then(Api::of).map_or(Self::Unknown, Self::Api),
        }
    }
}

impl Api {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "advice" => Self::Advice,
            "audit" => Self::Audit,
            "dependencies" => Self::Dependencies,
            "entry" => Self::Entry,
            "explain" => Self::Explain,
            "explore" => Self::Explore,
            "history" => Self::History,
            "manage/clear" => Self::Clear,
            "manage/invalidate" => Self::Invalidate,
            "manage/warm" => Self::Warm,
            "metrics" => Self::Metrics,
            "policies" => Self::Policies,
            "report" => Self::Report,
            "status" => Self::Status,
            _ => return None,
        })
    }

    /// The methods that it takes.
    pub(super) fn allows(self) -> &'static str {
        match self {
            Self::Clear | Self::Invalidate => "POST",
            Self::Warm => "GET, HEAD, POST",
            _ => "GET, HEAD",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_what_stands_before() {
        for prefix in ["", "/admin/cache", "/api/v1", "/health", "/api/metrics"] {
            for at in [None, Some(prefix).filter(|prefix| !prefix.is_empty())] {
                let of = |path: &str| Route::of(&format!("{prefix}{path}"), at);
                // Who mounts it where only one of these can be meant has to say where.
                if at.is_some() || Route::of(prefix, at) == Route::Unknown {
                    assert_eq!(of("/"), Route::Page, "{prefix} {at:?}");
                }
                for slash in ["", "/"] {
                    let of = |path: &str| of(&format!("{path}{slash}"));
                    assert_eq!(of("/health"), Route::Health, "{prefix} {at:?}");
                    assert_eq!(of("/api/status"), Route::Api(Api::Status), "{prefix} {at:?}");
                    assert_eq!(of("/api/manage/warm"), Route::Api(Api::Warm), "{prefix} {at:?}");
                }
                for unknown in ["/api/nothing", "/api", "/api/status/x", "/nothing", "/api/manage"] {
                    assert_eq!(of(unknown), Route::Unknown, "{prefix}{unknown} {at:?}");
                }
            }
        }
        let at = |path| Route::of(path, Some("/admin/cache"));
        assert_eq!((at("/admin/cache"), at("/api/status")), (Route::Page, Route::Api(Api::Status)));
        assert_eq!((at("/admin/cachet"), at("/other/api/status")), (Route::Unknown, Route::Unknown));
        assert_eq!((Route::of("", None), Route::of("/admin/cache", None)), (Route::Page, Route::Unknown));
    }
}
