//! What a server tells of its memory.

use crate::store::StoreStats;
use redis::{Cmd, Value};

/// A reading of `INFO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) used: u64,
    /// Nothing if there is no limit.
    pub(super) limit: Option<u64>,
    pub(super) evicted: Option<u64>,
    pub(super) policy: String,
}

impl Sample {
    /// Reads an answer; nothing if it is another one.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let text = match value {
            Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?,
            Value::VerbatimString { text, .. } => text,
            _ => return None,
        };
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_ascii_end)
        };
        let number = |name: &str| field(name)?.parse::<u64>().ok();
        Some(Self {
            used: number("used_memory")?,
            limit: number("maxmemory").filter(|limit| *limit > 0),
            evicted: number("evicted_keys"),
            policy: field("maxmemory_policy").unwrap_or_default().to_owned(),
        })
    }

    /// Why the policy does not fit a cache; nothing if it does.
    pub(super) fn unfit(&self) -> Option<&'static str> {
        // Without a limit nothing is evicted.
        self.limit?;
        match &*self.policy {
            "noeviction" => Some(
                "once its memory is full, Redis takes no more responses: set a `volatile-` policy, such as volatile-lfu \
                 (every key of a cache has an expiry)",
            ),
            policy if policy.starts_with("allkeys-") => Some(
                "Redis may evict the log of invalidations, and then every stored response counts as invalidated: set a \
                 `volatile-` policy with a time to live on all other keys, or keep the log on another Redis, by shared_log",
            ),
            _ => None,
        }
    }

    pub(super) fn stats(&self, entries: Option<u64>) -> StoreStats {
        StoreStats { entries, bytes: Some(self.used), limit: self.limit, evicted: self.evicted }
    }
}

/// Asks for all of it: only Redis 7 can be asked for two sections at once.
pub(super) fn command() -> Cmd {
    redis::cmd("INFO")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(text: &str) -> Option<Sample> {
        Sample::read(&Value::BulkString(text.as_bytes().to_vec()))
    }

    #[test]
    fn an_answer_is_read() {
        let sample = info(
            "# Memory\r\nused_memory:1024\r\nused_memory_human:1K\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n\
             # Stats\r\nevicted_keys:7\r\n",
        )
        .unwrap();
        assert_eq!(sample, Sample { used: 1024, limit: None, evicted: Some(7), policy: "noeviction".to_owned() });
        assert_eq!(sample.unfit(), None);
        assert_eq!(info("PONG"), None);
        assert_eq!(Sample::read(&Value::SimpleString("PONG".to_owned())), None);
    }

    #[test]
    fn unfit_policies_are_told() {
        let with =
            |policy: &str| info(&format!("used_memory:1\r\nmaxmemory:10\r\nmaxmemory_policy:{policy}\r\n")).unwrap();
        assert!(with("noeviction").unfit().unwrap().contains("no more responses"));
        assert!(with("allkeys-lru").unfit().unwrap().contains("log of invalidations"));
        assert_eq!(with("volatile-lfu").unfit(), None);
        assert_eq!(with("volatile-ttl").unfit(), None);
    }
}
