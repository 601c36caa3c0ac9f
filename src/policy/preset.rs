//! Lifetimes by the kind of data.

use crate::CacheControl;
use std::{fmt, time::Duration};

/// A kind of data, with the lifetime that it usually gets in the server and what browsers are told of it.
///
/// | preset | lifetime | for |
/// |---|---|---|
/// | `StaticData` | 1 h | what is the same for everyone and hardly ever changes |
/// | `User` | 30 min | what belongs to one user, permissions for example |
/// | `Dashboard` | 10 min | a dashboard |
/// | `Analytics` | 15 min | reports and figures over a period |
/// | `Statistics` | 5 min | figures of the moment |
/// | `Search` | 3 min | search results |
/// | `Role` | 1 h | definitions of roles |
/// | `Attendance` | 1 h | summaries of a day |
/// | `Dropdown` | 30 min | what fills a drop-down |
/// | `Forms`, `Trends` | 2 h | the choices of a form, figures of the past |
/// | `Hot`, `Standard`, `Stable` | 5 min, 30 min, 2 h | what changes often, now and then, hardly ever |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the table above says what each is for")]
pub enum Preset {
    Analytics,
    Attendance,
    Dashboard,
    Dropdown,
    Forms,
    Hot,
    Role,
    Search,
    Stable,
    Standard,
    StaticData,
    Statistics,
    Trends,
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
