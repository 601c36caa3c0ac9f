//! The store over a link.

use super::{
    fault::Fault,
    info::{self, Sample},
    line::Ask,
    link::{Link, Script},
    node::Node,
    run::Deadline,
    scan::{Position, pattern},
};
use crate::store::{Cursor, Page, Store, StoreError, StoreFuture, StoreKey, StoreStats};
use bytes::Bytes;
use redis::{Cmd, Pipeline, Value, cmd};
use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

/// Responses in Redis, each as a string under its key with a time to live.
pub(super) struct RedisStore(Arc<Link>);

impl RedisStore {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self(link)
    }

    fn budget(&self) -> Duration {
        self.0.setup().budget
    }

    async fn find(&self, keys: &[StoreKey]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let deadline = Deadline::within(self.budget());
        let Some(first) = keys.first() else { return Ok(Vec::new()) };
        if keys.len() == 1 {
            let value = self.0.one(first.as_str(), &get(first), deadline, true).await;
            return Ok(vec![found(value)?]);
        }
        if self.0.is_one_slot(keys.iter().map(StoreKey::as_str)) {
            let mut command = cmd("MGET");
            for key in keys {
                command.arg(key.as_str());
            }
            let Value::Array(values) = self.0.one(first.as_str(), &command, deadline, true).await? else {
                return Err(StoreError::Protocol);
            };
            if values.len() != keys.len() {
                return Err(StoreError::Protocol);
            }
            return values.into_iter().map(|value| found(Ok(value)).map_err(Into::into)).collect();
        }
        let commands = keys.iter().map(|key| (key.as_str(), get(key))).collect();
        let answers: Vec<_> = self.0.many(commands, deadline, true).await.into_iter().map(found).collect();
        // What one server does not say is not there; what none of them says is a failure.
        if answers.iter().all(Result::is_err) {
            return Err(answers.into_iter().find_map(Result::err).map_or(StoreError::Protocol, Into::into));
        }
        Ok(answers.into_iter().map(Result::unwrap_or_default).collect())
    }

    async fn keep(&self, key: StoreKey, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        // Large ones take longer on their way. Nobody waits for them.
        let more = u32::try_from(value.len() / BYTES_PER_BUDGET).unwrap_or(u32::MAX);
        let deadline = Deadline::within(self.budget().saturating_mul(more.saturating_add(1)));
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, LONGEST_TTL);
        let mut command = Cmd::with_capacity(5, value.len() + 64);
        command.arg("SET").arg(key.as_str()).arg(&*value).arg("PX").arg(ttl);
        drop(value);
        self.0.one(key.as_str(), &command, deadline, false).await?;
        Ok(())
    }

    async fn forget(&self, keys: &[StoreKey]) -> Result<(), StoreError> {
        for chunk in keys.chunks(CHUNK) {
            let deadline = Deadline::within(self.budget());
            let Some(first) = chunk.first() else { break };
            if self.0.is_one_slot(chunk.iter().map(StoreKey::as_str)) {
                let mut command = cmd("UNLINK");
                for key in chunk {
                    command.arg(key.as_str());
                }
                self.0.one(first.as_str(), &command, deadline, false).await?;
                continue;
            }
            let commands = chunk.iter().map(|key| {
                let mut command = cmd("UNLINK");
                command.arg(key.as_str());
                (key.as_str(), command)
            });
            for answer in self.0.many(commands.collect(), deadline, false).await {
                answer?;
            }
        }
        Ok(())
    }

    async fn take(&self, name: &StoreKey, token: &[u8], ttl: Duration) -> Result<bool, StoreError> {
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, LONGEST_TTL);
        let mut command = cmd("SET");
        command.arg(name.as_str()).arg(token).arg("NX").arg("PX").arg(ttl);
        match self.0.one(name.as_str(), &command, Deadline::within(self.budget()), false).await? {
            Value::Nil => Ok(false),
            _ => Ok(true),
        }
    }

    /// One step of one server's scan.
    async fn page(&self, prefix: &str, from: Option<Cursor>, head: usize) -> Result<Page, StoreError> {
        let from = from.map(|cursor| Position::read(&cursor)).transpose()?;
        let nodes = self.0.nodes();
        // One that has gone since is passed over.
        let index = match &from {
            Some(position) => nodes.partition_point(|(name, _)| *name < position.node),
            None => 0,
        };
        let Some((name, node)) = nodes.get(index) else {
            return if nodes.is_empty() { Err(StoreError::Unreachable) } else { Ok(Page::default()) };
        };
        let cursor = from.filter(|position| position.node == *name).map_or(0, |position| position.cursor);
        let (keys, next) = step(node, prefix, cursor, self.budget()).await?;
        let found = if head == 0 {
            keys.into_iter().map(|key| (key, Bytes::new())).collect()
        } else {
            heads(node, keys, head, self.budget()).await?
        };
        let next = match (next, nodes.get(index + 1)) {
            (0, None) => None,
            (0, Some((node, _))) => Some(Position { node: node.clone(), cursor: 0 }),
            (cursor, _) => Some(Position { node: name.clone(), cursor }),
        };
        Ok(Page { found, next: next.map(|position| position.write()) })
    }

    async fn count(&self) -> Result<StoreStats, StoreError> {
        let nodes = self.0.nodes();
        if nodes.is_empty() {
            return Err(StoreError::Unreachable);
        }
        let mut sum: Option<StoreStats> = None;
        for (_, node) in nodes {
            let mut pipeline = Pipeline::with_capacity(2);
            pipeline.cmd("DBSIZE");
            pipeline.add_command(info::command());
            let mut answers = node.ask(Ask::Many(&pipeline), Deadline::within(self.budget()), true).await?.into_iter();
            let entries = match answers.next() {
                Some(Ok(Value::Int(count))) => u64::try_from(count).ok(),
                _ => None,
            };
            let sample = answers.next().and_then(Result::ok).as_ref().and_then(Sample::read).or_else(|| node.sample());
            let one = match sample {
                Some(sample) => sample.stats(entries),
                None => StoreStats { entries, ..StoreStats::default() },
            };
            sum = Some(sum.map_or(one, |sum| add(sum, one)));
        }
        Ok(sum.unwrap_or_default())
    }
}

impl Store for RedisStore {
    fn name(&self) -> &str {
        "redis"
    }

    fn budget(&self) -> Option<Duration> {
        Some(self.0.setup().budget)
    }

    fn get<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, Vec<Option<Bytes>>> {
        StoreFuture::boxed(self.find(keys))
    }

    fn put(&self, key: StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'_, ()> {
        StoreFuture::boxed(self.keep(key, value, ttl))
    }

    fn remove<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, ()> {
        StoreFuture::boxed(self.forget(keys))
    }

    fn scan<'a>(&'a self, prefix: &'a str, from: Option<Cursor>, head: usize) -> StoreFuture<'a, Page> {
        StoreFuture::boxed(self.page(prefix, from, head))
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        StoreFuture::boxed(self.count())
    }

    fn last_stats(&self) -> Option<StoreStats> {
        let samples = self.0.nodes().into_iter().filter_map(|(_, node)| node.sample());
        samples.map(|sample| sample.stats(None)).reduce(add)
    }

    fn lease<'a>(&'a self, name: &'a StoreKey, token: &'a [u8], ttl: Duration) -> StoreFuture<'a, bool> {
        StoreFuture::boxed(self.take(name, token, ttl))
    }

    fn release<'a>(&'a self, name: &'a StoreKey, token: &'a [u8]) -> StoreFuture<'a, ()> {
        StoreFuture::boxed(async {
            self.0.script(&RELEASE, &[name.as_str()], &[token], Deadline::within(self.budget())).await.map(drop)
        })
    }

    fn is_available(&self) -> bool {
        self.0.is_available()
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisStore").field(&self.0).finish()
    }
}

fn get(key: &StoreKey) -> Cmd {
    let mut command = cmd("GET");
    command.arg(key.as_str());
    command
}

/// The bytes of an answer, which move. What is of another type is somebody else's.
fn found(value: Result<Value, Fault>) -> Result<Option<Bytes>, Fault> {
    match value {
        Ok(Value::BulkString(bytes)) => Ok(Some(bytes.into())),
        Ok(Value::Nil) | Err(Fault::OtherType) => Ok(None),
        Ok(_) => Err(Fault::Protocol),
        Err(fault) => Err(fault),
    }
}

/// The keys of one step, and the cursor of the next.
async fn step(
    node: &Arc<Node>,
    prefix: &str,
    cursor: u64,
    budget: Duration,
) -> Result<(Vec<StoreKey>, u64), StoreError> {
    let mut command = cmd("SCAN");
    command.arg(cursor).arg("MATCH").arg(pattern(prefix)).arg("COUNT").arg(CHUNK).arg("TYPE").arg("string");
    let mut answers = node.ask(Ask::One(&command), Deadline::within(budget), true).await?;
    let Some(Value::Array(parts)) = answers.pop().transpose()? else { return Err(StoreError::Protocol) };
    let [Value::BulkString(next), Value::Array(keys)] = &*parts else { return Err(StoreError::Protocol) };
    let next = std::str::from_utf8(next).ok().and_then(|text| text.parse().ok()).ok_or(StoreError::Protocol)?;
    let keys = keys.iter().filter_map(|key| match key {
        Value::BulkString(key) => StoreKey::new(std::str::from_utf8(key).ok()?),
        _ => None,
    });
    Ok((keys.collect(), next))
}

/// The first bytes of what is under these keys; those that are gone are left out.
async fn heads(
    node: &Arc<Node>,
    keys: Vec<StoreKey>,
    head: usize,
    budget: Duration,
) -> Result<Vec<(StoreKey, Bytes)>, StoreError> {
    let mut found = Vec::with_capacity(keys.len());
    let mut keys = keys.into_iter().peekable();
    while keys.peek().is_some() {
        // A step may find more than it was told to count.
        let chunk: Vec<_> = keys.by_ref().take(CHUNK).collect();
        let mut pipeline = Pipeline::with_capacity(chunk.len());
        for key in &chunk {
            pipeline.cmd("GETRANGE").arg(key.as_str()).arg(0).arg(head - 1);
        }
        let answers = node.ask(Ask::Many(&pipeline), Deadline::within(budget), true).await?;
        for (key, answer) in chunk.into_iter().zip(answers) {
            match answer {
                Ok(Value::BulkString(bytes)) if !bytes.is_empty() => found.push((key, bytes.into())),
                // A slot that is on the move is seen on the other node.
                _ => {}
            }
        }
    }
    Ok(found)
}

fn add(one: StoreStats, other: StoreStats) -> StoreStats {
    let both = |one: Option<u64>, other: Option<u64>| Some(one? + other?);
    StoreStats {
        entries: both(one.entries, other.entries),
        bytes: both(one.bytes, other.bytes),
        limit: both(one.limit, other.limit),
        evicted: both(one.evicted, other.evicted),
    }
}

/// Gives a lease back, if it is still the one that was taken.
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end return 0")
});

/// So many keys in one command, or commands in one write.
const CHUNK: usize = 500;

/// A write has the budget once more for each of these.
const BYTES_PER_BUDGET: usize = 512 * 1024;

/// A year, in milliseconds.
const LONGEST_TTL: u64 = 366 * 86_400 * 1000;
