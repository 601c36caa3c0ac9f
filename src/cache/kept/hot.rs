//! What was asked for most, by the hour of the day.

use super::parcel::LARGEST;
use crate::{
    key::{Attribute, UtcOffset, Wanted},
    semantics::date::Timestamp,
};
use std::{cmp::Reverse, collections::HashMap};

/// How often each request was answered from the cache, in each hour of the day by UTC. Halved each day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// The days since the epoch when it was last halved.
    day: u64,
    rows: HashMap<Wanted, Hours>,
}

pub(super) type Hours = [u64; 24];

impl Table {
    /// Adds what was asked for in this hour.
    pub(super) fn count(&mut self, at: Timestamp, counted: impl Iterator<Item = (Wanted, u64)>) {
        self.forget(at);
        let hour = hour_of(at);
        for (wanted, count) in counted {
            let count_then = &mut self.rows.entry(wanted).or_default()[hour];
            *count_then = count_then.saturating_add(count).min(LARGEST_NUMBER);
        }
        self.keep_hottest(MOST);
    }

    /// Adds what was counted elsewhere.
    pub(super) fn add(&mut self, other: &Self, now: Timestamp) {
        self.forget(now);
        let mut other = other.clone();
        other.forget(now);
        for (wanted, counts) in other.rows {
            let sums = self.rows.entry(wanted).or_default();
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum = sum.saturating_add(count).min(LARGEST_NUMBER);
            }
        }
        self.keep_hottest(MOST);
    }

    /// What these bytes say. Requests that cannot be made are left out.
    pub(super) fn read(body: &[u8], now: Timestamp) -> Result<Self, &'static str> {
        type Text = Option<Box<str>>;
        type Row = (Text, Text, Box<str>, Text, Text, Text, Vec<Attribute>, Hours);
        let (version, day, rows): (u8, u64, Vec<Row>) = serde_json::from_slice(body).map_err(|_| "field")?;
        if version != VERSION {
            return Err("version");
        }
        let rows = rows.into_iter().map(|(scheme, authority, path, query, language, codings, identity, counts)| {
            let wanted = Wanted { scheme, authority, path, query, language, codings, identity };
            (wanted, counts.map(|count| count.min(LARGEST_NUMBER)))
        });
        let rows = rows.filter(|(wanted, _)| wanted.is_possible()).collect();
        // By clocks that differ it may be tomorrow already.
        let mut table = Self { day: day.min(day_of(now) + 1), rows };
        table.forget(now);
        table.keep_hottest(MOST);
        Ok(table)
    }

    pub(super) fn write(&self, now: Timestamp) -> Vec<u8> {
        let mut table = self.clone();
        table.forget(now);
        for most in [MOST, MOST / 2, MOST / 4, MOST / 8] {
            table.keep_hottest(most);
            let row = |(wanted, counts)| {
                let Wanted { scheme, authority, path, query, language, codings, identity }: &Wanted = wanted;
                let counts: &Hours = counts;
                (scheme, authority, path, query, language, codings, identity, counts)
            };
            let rows: Vec<_> = table.rows.iter().map(row).collect();
            // Texts and numbers in lists are always possible.
            let body = serde_json::to_vec(&(VERSION, table.day, rows)).unwrap_or_default();
            if body.len() <= LARGEST {
                return body;
            }
        }
        Vec::new()
    }

    /// Halves it for each day that has begun since.
    fn forget(&mut self, now: Timestamp) {
        let days = day_of(now).saturating_sub(self.day);
        if days == 0 {
            return;
        }
        self.day += days;
        let halved = |count: &mut u64| *count = count.checked_shr(u32::try_from(days).unwrap_or(u32::MAX)).unwrap_or(0);
        self.rows.values_mut().for_each(|counts| counts.iter_mut().for_each(halved));
        self.rows.retain(|_, counts| counts.iter().any(|count| *count > 0));
    }

    /// Leaves so many of each hour.
    fn keep_hottest(&mut self, most: usize) {
        for hour in 0..24 {
            let mut asked: Vec<_> = self.rows.iter_mut().filter(|(_, counts)| counts[hour] > 0).collect();
            if asked.len() <= most {
                continue;
            }
            asked.sort_unstable_by(|a, b| b.1[hour].cmp(&a.1[hour]).then_with(|| a.0.cmp(b.0)));
            asked.into_iter().skip(most).for_each(|(_, counts)| counts[hour] = 0);
        }
        self.rows.retain(|_, counts| counts.iter().any(|count| *count > 0));
    }
}

/// The requests of all tables that weigh most, and how much.
pub(super) fn hottest<'a>(
    tables: impl IntoIterator<Item = &'a Table>,
    most: usize,
    weigh: impl Fn(&Hours) -> u64,
) -> Vec<Wanted> {
    let mut weights: HashMap<&Wanted, u64> = HashMap::new();
    for (wanted, counts) in tables.into_iter().flat_map(|table| &table.rows) {
        *weights.entry(wanted).or_default() += weigh(counts);
    }
    let mut weights: Vec<_> = weights.into_iter().filter(|(_, weight)| *weight > 0).collect();
    weights.sort_unstable_by_key(|(wanted, weight)| (Reverse(*weight), *wanted));
    weights.into_iter().take(most).map(|(wanted, _)| wanted.clone()).collect()
}

/// Weighs by the hour of the day in this zone that it is, or that begins within half an hour. Zones may begin their
/// hours within those of UTC.
pub(super) fn nearest_hour(now: Timestamp, zone: UtcOffset) -> impl Fn(&Hours) -> u64 {
    let local = i128::from(now.as_unix_millis()) + i128::from(zone.millis()) + i128::from(HOUR / 2);
    let begins = local.div_euclid(HOUR.into()) * i128::from(HOUR) - i128::from(zone.millis());
    let begins = u64::try_from(begins).unwrap_or(0);
    let (first, minutes) = (hour_of(Timestamp::from_unix_millis(begins)), begins % HOUR / 60_000);
    move |counts| counts[first] * (60 - minutes) + counts[(first + 1) % 24] * minutes
}

fn hour_of(at: Timestamp) -> usize {
    usize::try_from(at.as_unix_millis() / HOUR % 24).unwrap_or(0)
}

fn day_of(at: Timestamp) -> u64 {
    at.as_unix_millis() / (24 * HOUR)
}

/// In milliseconds.
const HOUR: u64 = 3_600_000;

const VERSION: u8 = 1;

/// So many requests are remembered of each hour.
pub(super) const MOST: usize = 200;

/// So that sums do not overflow.
const LARGEST_NUMBER: u64 = 1 << 40;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const MIDNIGHT: Timestamp = Timestamp::from_unix_secs(1_800_000_000 / 86_400 * 86_400);

    fn at(hour: u64, minute: u64) -> Timestamp {
        MIDNIGHT.saturating_add(Duration::from_secs(hour * 3600 + minute * 60))
    }

    fn wanted(path: &str) -> Wanted {
        Wanted { path: path.into(), authority: Some("shop.example".into()), ..Wanted::default() }
    }

    fn table(counted: &[(u64, &str, u64)]) -> Table {
        let mut table = Table::default();
        for (hour, path, count) in counted {
            table.count(at(*hour, 0), [(wanted(path), *count)].into_iter());
        }
        table
    }

    fn paths(found: &[Wanted]) -> Vec<&str> {
        found.iter().map(|wanted| &*wanted.path).collect()
    }

    fn all(table: &Table, most: usize) -> Vec<Wanted> {
        hottest([table], most, |counts| counts.iter().sum())
    }

    #[test]
    fn the_hottest_come_first() {
        let (here, there) = (table(&[(9, "/a", 5), (10, "/b", 4)]), table(&[(9, "/b", 3), (20, "/c", 1)]));
        let found = hottest([&here, &there], 2, |counts| counts.iter().sum());
        assert_eq!(paths(&found), ["/b", "/a"]);
        let mut sum = here;
        sum.add(&there, at(20, 0));
        assert_eq!(paths(&all(&sum, 9)), ["/b", "/a", "/c"]);
    }

    #[test]
    fn an_hour_is_that_which_is_nearest() {
        let table = table(&[(8, "/8", 1), (9, "/9", 1), (10, "/10", 1)]);
        let near = |hour, minute, zone| hottest([&table], 9, nearest_hour(at(hour, minute), zone));
        for (hour, minute, expected) in [(8, 29, "/8"), (8, 30, "/9"), (9, 0, "/9"), (9, 29, "/9"), (9, 31, "/10")] {
            for zone in [0, 2, -7] {
                assert_eq!(paths(&near(hour, minute, UtcOffset::hours(zone))), [expected], "{hour}:{minute} {zone}");
            }
        }
        assert!(near(15, 0, UtcOffset::UTC).is_empty());
        // 13:45 there, so the hour that begins is from 8:15 to 9:15 here.
        assert_eq!(paths(&near(8, 0, UtcOffset::minutes(345))), ["/8", "/9"]);
    }

    #[test]
    fn each_day_halves_it() {
        let mut table = table(&[(9, "/often", 1000), (9, "/once", 1)]);
        table.forget(at(23, 59));
        assert_eq!(all(&table, 9).len(), 2);
        table.forget(at(24, 0));
        assert_eq!(paths(&all(&table, 9)), ["/often"]);
        table.forget(at(24 * 9, 0));
        assert_eq!(table.rows[&wanted("/often")][9], 1);
        table.forget(at(24 * 1000, 0));
        assert!(table.rows.is_empty());
    }

    #[test]
    fn each_hour_is_bounded() {
        let mut table = Table::default();
        let path = |number: u64| wanted(&format!("/{number}"));
        table.count(at(9, 0), (0..1000).map(|number| (path(number), number)));
        table.count(at(10, 0), (500..600).map(|number| (path(number), 1)));
        assert_eq!(table.rows.len(), MOST + 100);
        assert_eq!(paths(&hottest([&table], 2, |counts| counts[9])), ["/999", "/998"]);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut table = table(&[(9, "/a", 5), (10, "/b", 4)]);
        let whole = Wanted {
            scheme: Some("https".into()),
            query: Some("x=1".into()),
            language: Some("de".into()),
            codings: Some("br, gzip".into()),
            identity: vec![("role".into(), vec!["a\u{1}".into(), "b\"".into()])],
            ..wanted("/c")
        };
        table.count(at(11, 0), [(whole, 7)].into_iter());
        assert_eq!(Table::read(&table.write(at(12, 0)), at(12, 0)), Ok(table));
    }

    #[test]
    fn what_cannot_be_asked_for_is_left_out() {
        let body = |path: &str, day: u64| {
            let rows = format!("[null,\"h\",\"{path}\",null,null,null,[],{:?}]", [u64::MAX; 24]);
            format!("[1,{day},[{rows}]]").into_bytes()
        };
        let read = |body: &[u8]| Table::read(body, at(9, 0));
        let today = day_of(at(9, 0));
        let found = read(&body("/a", today)).unwrap();
        assert_eq!(all(&found, 9), [Wanted { authority: Some("h".into()), path: "/a".into(), ..Wanted::default() }]);
        for path in ["a", "", "/a b", "http://x/", "/\\u0000"] {
            assert!(read(&body(path, today)).unwrap().rows.is_empty(), "{path}");
        }
        assert_eq!(read(&body("/a", u64::MAX)).unwrap().day, today + 1);
        assert!(read(&body("/a", 0)).unwrap().rows.is_empty());
        assert_eq!(read(b"[2,0,[]]"), Err("version"));
        assert_eq!(read(b"[1,0,[[]]]"), Err("field"));
    }

    #[test]
    fn long_ones_fit() {
        let mut table = Table::default();
        for hour in 0..24 {
            let long = |number: u64| {
                let value: String = "\u{1}".repeat(900);
                Wanted { identity: vec![("a".into(), vec![value.into()])], ..wanted(&format!("/{hour}/{number}")) }
            };
            table.count(at(hour, 0), (0..200).map(|number| (long(number), number + 1)));
        }
        let body = table.write(at(23, 0));
        assert!(body.len() <= LARGEST && body.len() > LARGEST / 2, "{}", body.len());
        assert!(Table::read(&body, at(23, 0)).unwrap().rows.contains_key(&all(&table, 1)[0]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Table::read(&bytes, MIDNIGHT);
        }

        #[test]
        fn any_request_is_read_or_not(path in ".*", host in ".*", name in ".*", day: u64, counts: [u64; 24]) {
            let none = None::<String>;
            let row = (&none, Some(host), path, &none, &none, &none, [(&name, [&name])], counts);
            let body = serde_json::to_vec(&(VERSION, day, [row])).unwrap();
            let table = Table::read(&body, MIDNIGHT).unwrap();
            let _ = hottest([&table, &table, &table], 9, nearest_hour(MIDNIGHT, UtcOffset::minutes(-210)));
        }
    }
}
