//! Lifetimes by the kind of data.

use crate::CacheControl;
use std::{fmt, time::Duration};

/// A kind of data, with the lifetime that it usually gets in the server and what browsers are told of it.
///
/// ```
/// use larder::{CacheControl, Policy, Preset};
///
/// let reports = Policy::preset(Preset::Analytics).per_tenant().browser(Preset::Analytics.into());
/// assert_eq!(reports.name(), Some("analytics"));
/// assert_eq!(CacheControl::from(Preset::Analytics).to_string(), "max-age=900, private");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Preset {
    /// Reports and figures over a period: 15 minutes.
    Analytics,
    /// Summaries of a day: an hour.
    Attendance,
    /// A dashboard: 10 minutes.
    Dashboard,
    /// What fills a drop-down: 30 minutes.
    Dropdown,
    /// The choices of a form: 2 hours.
    Forms,
    /// What changes often: 5 minutes.
    Hot,
    /// Definitions of roles: an hour.
    Role,
    /// Search results: 3 minutes.
    Search,
    /// What hardly ever changes: 2 hours.
    Stable,
    /// What changes now and then: 30 minutes.
    Standard,
    /// What is the same for everyone and hardly ever changes: an hour.
    StaticData,
    /// Figures of the moment: 5 minutes.
    Statistics,
    /// Figures of the past: 2 hours.
    Trends,
    /// What belongs to one user, permissions for example: 30 minutes.
    User,
}

impl Preset {
    /// Every preset.
    pub const ALL: &'static [Self] = &[
        Self::Analytics,
        Self::Attendance,
        Self::Dashboard,
        Self::Dropdown,
        Self::Forms,
        Self::Hot,
        Self::Role,
        Self::Search,
        Self::Stable,
        Self::Standard,
        Self::StaticData,
        Self::Statistics,
        Self::Trends,
        Self::User,
    ];

    /// How long it is fresh in the server.
    pub const fn lifetime(self) -> Duration {
        let minutes = match self {
            Self::Search => 3,
            Self::Hot | Self::Statistics => 5,
            Self::Dashboard => 10,
            Self::Analytics => 15,
            Self::Dropdown | Self::Standard | Self::User => 30,
            Self::Attendance | Self::Role | Self::StaticData => 60,
            Self::Forms | Self::Stable | Self::Trends => 120,
        };
        Duration::from_secs(minutes * 60)
    }

    /// Its name, which is that of [`Policy::preset`](crate::Policy::preset).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Analytics => "analytics",
            Self::Attendance => "attendance",
            Self::Dashboard => "dashboard",
            Self::Dropdown => "dropdown",
            Self::Forms => "forms",
            Self::Hot => "hot",
            Self::Role => "role",
            Self::Search => "search",
            Self::Stable => "stable",
            Self::Standard => "standard",
            Self::StaticData => "static",
            Self::Statistics => "statistics",
            Self::Trends => "trends",
            Self::User => "user",
        }
    }
}

/// What browsers are told: the lifetime of the preset, and `private` for what depends on who asks.
impl From<Preset> for CacheControl {
    fn from(preset: Preset) -> Self {
        match preset {
            Preset::Analytics => Self::analytics(),
            Preset::Attendance => Self::attendance(),
            Preset::Dashboard => Self::dashboard(),
            Preset::Dropdown => Self::dropdown(),
            Preset::Forms => Self::forms(),
            Preset::Hot => Self::hot(),
            Preset::Role => Self::role(),
            Preset::Search => Self::search(),
            Preset::Stable => Self::stable(),
            Preset::Standard => Self::standard(),
            Preset::StaticData => Self::static_data(),
            Preset::Statistics => Self::statistics(),
            Preset::Trends => Self::trends(),
            Preset::User => Self::user(),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_and_server_agree() {
        for &preset in Preset::ALL {
            let said = CacheControl::from(preset).to_string();
            assert!(said.starts_with(&format!("max-age={},", preset.lifetime().as_secs())), "{preset}: {said}");
        }
    }
}
