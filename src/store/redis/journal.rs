//! The shared invalidation log, as a stream of Redis.
//!
//! One stream for each namespace, over all versions of the application. Each record names its epoch and the record of ours
//! before it; scripts see to it that both are true. What somebody else put there is passed over.

use super::{
    link::{Dedicated, Link, Script},
    run::Deadline,
};
use crate::{
    hex::hex,
    invalidation::{Epoch, Heading, RecordId},
    random,
    semantics::date::Timestamp,
    store::{Draft, Journal, Line, NodeId, Reading, StoreError, StoreFuture},
};
use redis::{Value, cmd};
use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};
use tokio::sync::Mutex;

/// The log of a namespace.
pub(crate) struct RedisJournal {
    link: Arc<Link>,
    key: String,
    /// The connection that waits for records.
    reading: Mutex<Option<Dedicated>>,
    /// So many are read at once: fewer after a page that took too long.
    page: AtomicU32,
}

impl RedisJournal {
    pub(crate) fn new(link: Arc<Link>, namespace: &str) -> Self {
        Self { link, key: format!("larder:{namespace}:log"), reading: Mutex::new(None), page: AtomicU32::new(PAGE) }
    }

    /// When its last record was written, if there is one.
    pub(super) async fn last(&self, budget: Duration) -> Result<Option<SystemTime>, StoreError> {
        let mut command = cmd("XREVRANGE");
        command.arg(&self.key).arg("+").arg("-").arg("COUNT").arg(1);
        let Value::Array(rows) = self.link.one(&self.key, &command, Deadline::within(budget), true).await? else {
            return Err(StoreError::Protocol);
        };
        let Some(row) = rows.first() else { return Ok(None) };
        let Value::Array(row) = row else { return Err(StoreError::Protocol) };
        let id = row.first().and_then(text).and_then(record_id).ok_or(StoreError::Protocol)?;
        Ok(Some(Timestamp::from_unix_millis(id.millis).into()))
    }

    async fn send(&self, node: NodeId, drafts: &[Draft]) -> Result<Vec<RecordId>, StoreError> {
        let numbers: Vec<String> = drafts.iter().map(|draft| draft.own.to_string()).collect();
        let (node, expiry, epoch) = (hex(&node.0), EXPIRY.as_millis().to_string(), hex(&random::bytes::<16>()));
        let mut arguments: Vec<&[u8]> = vec![epoch.as_bytes(), expiry.as_bytes(), KEPT.as_bytes(), node.as_bytes()];
        for (draft, number) in drafts.iter().zip(&numbers) {
            arguments.extend([number.as_bytes(), draft.text.as_bytes()]);
        }
        let Value::Array(ids) = self.link.script(&APPEND, &[&self.key], &arguments, insisting()).await? else {
            return Err(StoreError::Protocol);
        };
        let ids: Option<Vec<_>> = ids.iter().map(|id| text(id).and_then(record_id)).collect();
        ids.filter(|ids| ids.len() == drafts.len()).ok_or(StoreError::Protocol)
    }

    async fn receive(&self, after: Option<RecordId>, wait: Duration) -> Result<Reading, StoreError> {
        // One task reads, so this waits for nobody.
        let mut reading = self.reading.lock().await;
        // Taken out while it waits: one that was given up in the middle of an answer is not used again.
        let mut connection = match reading.take() {
            Some(connection) => connection,
            None => self.link.dedicated(&self.key).await?,
        };
        let mut end = None;
        if wait.is_zero() && after.is_none() {
            end = self.touch().await?;
        }
        let mut command = cmd("XREAD");
        let page = self.page.load(Relaxed);
        command.arg("COUNT").arg(page);
        if !wait.is_zero() {
            command.arg("BLOCK").arg(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        }
        let after = after.unwrap_or_default();
        command.arg("STREAMS").arg(&self.key).arg(format!("{}-{}", after.millis, after.count));
        // A dead connection is noticed within the bound that the wait is a part of.
        let late = if wait.is_zero() { WITHIN } else { wait.clamp(SHORTEST, WITHIN) };
        let answer = connection.run_within(&command, wait.saturating_add(late)).await;
        if answer.is_err() {
            // The one who has the log may be another by now.
            self.link.doubt();
        }
        if answer == Err(StoreError::Timeout) {
            self.page.store((page / 2).max(1), Relaxed);
        } else {
            self.page.store((page * 2).min(PAGE), Relaxed);
        }
        let answer = answer?;
        *reading = Some(connection);
        drop(reading);
        let mut found = lines(&answer)?;
        if found.lines.is_empty() {
            end = self.touch().await?;
        }
        found.end = end;
        Ok(found)
    }

    /// Keeps the log from expiring, has it begun if there is none, and tells its last record.
    async fn touch(&self) -> Result<Option<RecordId>, StoreError> {
        let (expiry, epoch) = (EXPIRY.as_millis().to_string(), hex(&random::bytes::<16>()));
        let arguments = [epoch.as_bytes(), expiry.as_bytes()];
        let last = self.link.script(&TOUCH, &[&self.key], &arguments, insisting()).await?;
        text(&last).and_then(record_id).map(Some).ok_or(StoreError::Protocol)
    }

    async fn end(&self, lost: Epoch) -> Result<(), StoreError> {
        let (expiry, epoch, lost) = (EXPIRY.as_millis().to_string(), hex(&random::bytes::<16>()), hex(&lost.0));
        let arguments = [epoch.as_bytes(), expiry.as_bytes(), lost.as_bytes()];
        self.link.script(&RENEW, &[&self.key], &arguments, insisting()).await.map(drop)
    }
}

impl Journal for RedisJournal {
    fn append<'a>(&'a self, node: NodeId, drafts: &'a [Draft]) -> StoreFuture<'a, Vec<RecordId>> {
        StoreFuture::boxed(self.send(node, drafts))
    }

    fn read(&self, after: Option<RecordId>, wait: Duration) -> StoreFuture<'_, Reading> {
        StoreFuture::boxed(self.receive(after, wait))
    }

    fn renew(&self, lost: Epoch) -> StoreFuture<'_, ()> {
        StoreFuture::boxed(self.end(lost))
    }
}

impl fmt::Debug for RedisJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisJournal").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What is common to the scripts: the last record of ours, and appending one.
macro_rules! script {
    ($code:literal) => {
        concat!(
            r"
local key, fresh, expiry = KEYS[1], ARGV[1], ARGV[2]

local function fields_of(row)
  local fields = {}
  for i = 1, #row[2], 2 do fields[row[2][i]] = row[2][i + 1] end
  return fields
end

-- The last record of ours and its epoch. Records of others in between are few, or nobody can tell.
local function last()
  local from = '+'
  for _ = 1, 20 do
    local rows = redis.call('XREVRANGE', key, from, '-', 'COUNT', 50)
    for _, row in ipairs(rows) do
      local fields = fields_of(row)
      if fields.larder and fields.epoch then return row[1], fields.epoch end
    end
    if #rows < 50 then return nil end
    from = '(' .. rows[50][1]
  end
  return nil
end

local function begin(previous)
  return redis.call('XADD', key, '*', 'larder', '1', 'epoch', fresh, 'previous', previous or '0-0')
end
",
            $code,
            "\nredis.call('PEXPIRE', key, expiry)\nreturn result\n"
        )
    };
}

static APPEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(script!(
        r"
local kept, node = ARGV[3], ARGV[4]
local previous, epoch = last()
if not previous then
  previous, epoch = begin(), fresh
end
local result = {}
for i = 5, #ARGV, 2 do
  previous = redis.call('XADD', key, 'MAXLEN', '~', kept, '*', 'larder', '1', 'epoch', epoch, 'previous', previous,
    'node', node, 'number', ARGV[i], 'selects', ARGV[i + 1])
  result[#result + 1] = previous
end"
    ))
});

static TOUCH: LazyLock<Script> = LazyLock::new(|| Script::new(script!("local result = last() or begin()")));

static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(script!(
        r"
local previous, epoch = last()
local result = previous or ''
if epoch == nil or epoch == ARGV[3] then result = begin(previous) end"
    ))
});

/// What `XREAD` has answered, in either protocol.
fn lines(answer: &Value) -> Result<Reading, StoreError> {
    let rows = match answer {
        Value::Nil => return Ok(Reading::default()),
        // The one stream that was asked for.
        Value::Array(streams) => match streams.first() {
            Some(Value::Array(stream)) => stream.get(1),
            _ => None,
        },
        Value::Map(streams) => streams.first().map(|(_, rows)| rows),
        _ => None,
    };
    let Some(Value::Array(rows)) = rows else { return Err(StoreError::Protocol) };
    let mut reading = Reading::default();
    for row in rows {
        if let Value::Array(parts) = row {
            reading.last = parts.first().and_then(text).and_then(record_id).or(reading.last);
        }
        match line(row).ok_or(StoreError::Protocol)? {
            Some(line) => reading.lines.push(line),
            None => reading.foreign += 1,
        }
    }
    Ok(reading)
}

/// A record, if it is one of ours.
#[expect(clippy::option_option, reason = "what is no record at all is the outer nothing")]
fn line(row: &Value) -> Option<Option<Line>> {
    let Value::Array(row) = row else { return None };
    let [id, fields] = row.as_slice() else { return None };
    let id = text(id).and_then(record_id)?;
    let pairs: Vec<(&str, &str)> = match fields {
        Value::Array(fields) => {
            fields.chunks_exact(2).filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])?))).collect()
        }
        Value::Map(fields) => fields.iter().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect(),
        _ => Vec::new(),
    };
    let field = |name: &str| pairs.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
    let ours = field("larder").and(field("epoch"));
    let Some((epoch, previous)) = ours.and_then(unhex).zip(field("previous").and_then(record_id)) else {
        return Some(None);
    };
    let node = field("node").and_then(unhex);
    let own = field("number").and_then(|number| number.parse().ok());
    let heading = Heading { id, epoch: Epoch(epoch), previous, own: None };
    Some(Some(Line {
        heading,
        node: NodeId(node.unwrap_or_default()),
        own: own.unwrap_or(0),
        // Where an epoch begins nothing is selected; what says so otherwise is taken for more than it may be.
        text: field("selects").map(str::to_owned).or_else(|| node.map(|_| String::new())),
    }))
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn record_id(text: &str) -> Option<RecordId> {
    let (millis, count) = text.split_once('-')?;
    Some(RecordId { millis: millis.parse().ok()?, count: count.parse().ok()? })
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// A log that nobody reads or writes for so long is gone: nothing that was stored before is used then.
const EXPIRY: Duration = Duration::from_secs(2 * 366 * 24 * 3600);

/// About so many records are kept.
const KEPT: &str = "100000";

/// So many are read at once.
const PAGE: u32 = 1000;

const SHORTEST: Duration = Duration::from_millis(50);

/// The log is written also while requests leave the server alone.
fn insisting() -> Deadline {
    Deadline::within(WITHIN).insisting()
}

/// How long an answer may take, beside what was waited for.
const WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn row(id: &str, fields: &[&str]) -> Value {
        Value::Array(vec![bulk(id), Value::Array(fields.iter().map(|field| bulk(field)).collect())])
    }

    #[test]
    fn records_are_read_and_others_passed_over() {
        let epoch = "0102030405060708090a0b0c0d0e0f10";
        let rows = Value::Array(vec![
            row("5-0", &["larder", "1", "epoch", epoch, "previous", "0-0"]),
            row("5-1", &["hello", "world"]),
            row("6-0", &["larder", "1", "epoch", "short", "previous", "5-0"]),
            row(
                "7-2",
                &[
                    "larder",
                    "1",
                    "epoch",
                    epoch,
                    "previous",
                    "5-0",
                    "node",
                    "0000000000000007",
                    "number",
                    "3",
                    "selects",
                    "[]",
                ],
            ),
            row("8-0", &["larder", "2", "epoch", epoch, "previous", "7-2", "node", "0000000000000007", "what", "[]"]),
        ]);
        for answer in
            [Value::Array(vec![Value::Array(vec![bulk("key"), rows.clone()])]), Value::Map(vec![(bulk("key"), rows)])]
        {
            let reading = lines(&answer).unwrap();
            assert_eq!((reading.lines.len(), reading.foreign), (3, 2));
            assert_eq!(reading.last, Some(RecordId { millis: 8, count: 0 }));
            let [begin, record, newer] = &reading.lines[..] else { panic!() };
            assert_eq!((begin.text.as_deref(), begin.heading.id.millis), (None, 5));
            assert_eq!(
                (record.text.as_deref(), record.own, record.node),
                (Some("[]"), 3, NodeId([0, 0, 0, 0, 0, 0, 0, 7]))
            );
            assert_eq!(record.heading.previous, RecordId { millis: 5, count: 0 });
            assert_eq!(newer.text.as_deref(), Some(""), "cannot be read, so it selects everything");
        }
        assert_eq!(lines(&Value::Nil), Ok(Reading::default()));
        for wrong in [Value::Int(1), Value::Array(vec![]), Value::Array(vec![bulk("key")])] {
            assert_eq!(lines(&wrong), Err(StoreError::Protocol));
        }
    }

    #[test]
    fn hex_goes_both_ways() {
        assert_eq!(unhex::<3>(&hex(&[1, 0xab, 255])), Some([1, 0xab, 255]));
        assert_eq!((unhex::<2>("abc"), unhex::<2>("zzzz"), unhex::<2>("\u{e9}\u{e9}")), (None, None, None));
    }
}
