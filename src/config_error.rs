//! What is wrong with a configuration.

use crate::policy::PolicyError;
use std::fmt;

/// A cache that cannot be made as it was described. The text names what was given and what would be right.
///
/// ```
/// use larder::{Cache, Policy};
/// use std::time::Duration;
///
/// let an_hour = Policy::fresh_for(Duration::from_secs(3600));
/// let error = Cache::builder().default_policy(an_hour.max_variants(0)).build().unwrap_err();
/// assert_eq!(error.to_string(), "max_variants(0): between 1 and 1024 are possible");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    text: String,
    /// There is no such file.
    absent: bool,
}

impl ConfigError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), absent: false }
    }

    #[cfg(feature = "toml")]
    pub(crate) fn unreadable(file: &str, error: &std::io::Error) -> Self {
        Self { text: format!("{file}: {error}"), absent: error.kind() == std::io::ErrorKind::NotFound }
    }

    /// Whether it is only that there is no file of the name that was given: an application that has defaults of its own
    /// may go on with them. What is in a file, and is wrong, is a mistake to be mended.
    ///
    #[cfg_attr(feature = "toml", doc = "```")]
    #[cfg_attr(not(feature = "toml"), doc = "```ignore")]
    /// use larder::{Cache, Caches, Config, ConfigError};
    ///
    /// fn caches(file: &str) -> Result<Caches, ConfigError> {
    ///     match Config::from_file(file) {
    ///         Ok(config) => Ok(config.caches().clone()),
    ///         Err(error) if error.is_absent() => Caches::builder().cache("api", Cache::builder()).build(),
    ///         Err(error) => Err(error),
    ///     }
    /// }
    ///
    /// assert!(caches("no/such/larder.toml")?.get("api").is_some());
    /// # Ok::<(), ConfigError>(())
    /// ```
    pub fn is_absent(&self) -> bool {
        self.absent
    }
}

impl From<PolicyError> for ConfigError {
    fn from(error: PolicyError) -> Self {
        Self::new(error.to_string())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ConfigError {}
