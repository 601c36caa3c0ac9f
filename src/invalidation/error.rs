use std::{error::Error, fmt, sync::Arc};

/// What is wrong with an invalidation: it could not be done, as it does not say what it should; or it was done here, and it is not
/// known whether other processes have heard of it ([`is_unconfirmed`](InvalidateError::is_unconfirmed)).
///
/// ```
/// # use larder::{Cache, InvalidateError, Selector};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), InvalidateError> {
/// # let cache = Cache::in_memory(1 << 20);
/// // What was changed is changed: a log that cannot be written is no reason to fail.
/// match cache.invalidate(Selector::tag("prices")).await {
///     Err(error) if error.is_unconfirmed() => eprintln!("{error}"),
///     told => drop(told?),
/// }
/// // What says nothing is a mistake, and nothing is done.
/// let error = cache.invalidate(Selector::tag(" ")).await.unwrap_err();
/// assert!(!error.is_unconfirmed());
/// # Ok(()) }
/// ```
///
/// Where the store that has the log failed, [`source`](Error::source) is its [`StoreError`](crate::StoreError).
#[derive(Clone, Debug)]
pub struct InvalidateError {
    text: String,
    unconfirmed: bool,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl InvalidateError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), unconfirmed: false, cause: None }
    }

    /// Done here, and not written: nothing failed that says why.
    pub(crate) fn unconfirmed(why: impl fmt::Display) -> Self {
        Self { text: format!("{UNCONFIRMED} ({why}); {AGAIN}"), unconfirmed: true, cause: None }
    }

    /// Done here, and not written: this is why.
    pub(crate) fn unwritten(cause: impl Error + Send + Sync + 'static) -> Self {
        Self { text: format!("{UNCONFIRMED}; {AGAIN}"), unconfirmed: true, cause: Some(Arc::new(cause)) }
    }

    /// Whether it was carried out here, and other processes may not have heard of it: the shared log could not be written. It is
    /// kept and sent again, but is lost with this process: who has to be sure repeats it until it is confirmed.
    pub fn is_unconfirmed(&self) -> bool {
        self.unconfirmed
    }

    fn why(&self) -> Option<String> {
        self.cause.as_ref().map(ToString::to_string)
    }
}

/// Two that say the same are the same.
impl PartialEq for InvalidateError {
    fn eq(&self, other: &Self) -> bool {
        self.unconfirmed == other.unconfirmed && self.text == other.text && self.why() == other.why()
    }
}

impl Eq for InvalidateError {}

impl fmt::Display for InvalidateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for InvalidateError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

const UNCONFIRMED: &str = "invalidated here, but not yet in the log that other processes read";
const AGAIN: &str = "it is sent again for as long as this process runs, and to be sure, repeat it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_one_text_and_cause_are_equal() {
        let error = |why: &str| InvalidateError::unwritten(std::io::Error::other(why.to_owned()));
        assert_eq!(error("a").to_string(), error("b").to_string());
        assert_eq!(error("a").source().map(ToString::to_string).as_deref(), Some("a"));
        assert_eq!(error("a"), error("a"));
        assert_ne!(error("a"), error("b"));
        assert_ne!(InvalidateError::new("x"), InvalidateError::unconfirmed("x"));
        assert!(InvalidateError::unconfirmed("x").source().is_none());
    }
}
