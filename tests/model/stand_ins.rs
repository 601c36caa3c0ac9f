//! What the ledger takes from the rest of `larder`, as simple as it can be.

/// Keys and their patterns.
pub(crate) mod key {
    /// Matches the keys that have this byte.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Pattern(pub(crate) u8);

    impl Pattern {
        pub(crate) fn matches(&self, key: &[u8]) -> bool {
            key.contains(&self.0)
        }
    }
}

/// What the RFCs say.
pub(crate) mod semantics {
    /// Points in time.
    pub(crate) mod date {
        use std::time::Duration;

        /// So many milliseconds have passed.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct Timestamp(u64);

        impl Timestamp {
            pub(crate) fn from_unix_millis(millis: u64) -> Self {
                Self(millis)
            }

            pub(crate) fn as_unix_millis(self) -> u64 {
                self.0
            }

            pub(crate) fn since(self, earlier: Self) -> Duration {
                Duration::from_millis(self.0.saturating_sub(earlier.0))
            }
        }
    }
}
