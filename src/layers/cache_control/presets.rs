use crate::CacheControl;
use std::time::Duration;

/// # By the kind of data
///
/// The lifetimes are those of the policies of the same names. What depends on who asks is private.
impl CacheControl {
    /// Data that is the same for everyone and hardly ever changes: one hour, public, immutable.
    pub const fn static_data() -> Self {
        Self::public(HOUR).immutable()
    }

    /// What belongs to one user, permissions for example: 30 minutes, private.
    pub const fn user() -> Self {
        Self::private(minutes(30))
    }

    /// A dashboard: ten minutes, private.
    pub const fn dashboard() -> Self {
        Self::private(minutes(10))
    }

    /// Reports and figures over a period: 15 minutes, private.
    pub const fn analytics() -> Self {
        Self::private(minutes(15))
    }

    /// Figures of the moment: five minutes, private.
    pub const fn statistics() -> Self {
        Self::private(minutes(5))
    }

    /// Search results: three minutes, private.
    pub const fn search() -> Self {
        Self::private(minutes(3))
    }

    /// Definitions of roles: one hour, public.
    pub const fn role() -> Self {
        Self::public(HOUR)
    }

    /// Summaries of a day: one hour, private.
    pub const fn attendance() -> Self {
        Self::private(HOUR)
    }

    /// What fills a drop-down: 30 minutes, private.
    pub const fn dropdown() -> Self {
        Self::private(minutes(30))
    }

    /// The choices of a form: two hours, private.
    pub const fn forms() -> Self {
        Self::private(minutes(120))
    }

    /// Figures of the past: two hours, private.
    pub const fn trends() -> Self {
        Self::private(minutes(120))
    }

    /// What changes often: five minutes, private.
    pub const fn hot() -> Self {
        Self::private(minutes(5))
    }

    /// What changes now and then: 30 minutes, private.
    pub const fn standard() -> Self {
        Self::private(minutes(30))
    }

    /// What hardly ever changes: two hours, private.
    pub const fn stable() -> Self {
        Self::private(minutes(120))
    }
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

const HOUR: Duration = minutes(60);
