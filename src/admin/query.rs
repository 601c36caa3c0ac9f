//! The parameters of a request.

use super::answer::Failure;
use percent_encoding::percent_decode_str;
use std::{fmt, ops::RangeInclusive};

/// The parameters of a request, in order. An empty one is as if it were not there.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: &str) -> Result<Self, Failure> {
        let decoded = |text: &str| {
            let spaced = text.replace('+', " ");
            let decoded = percent_decode_str(&spaced).decode_utf8().map(std::borrow::Cow::into_owned);
            decoded.map_err(|_| Failure::bad(format!("`{}` in the query is not UTF-8", text.escape_debug())))
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    /// Whether it is there, with a value or without.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| other == name)
    }

    /// The value of a parameter that may be there once.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, Failure> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (Some(_), Some(_)) => Err(Failure::bad(format!("`{name}` is there twice: once is possible"))),
            (value, _) => Ok(value),
        }
    }

    /// All values of a parameter, in their order.
    pub(super) fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.0.iter().filter(move |(other, value)| other == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// One of these words, the first of which is the default.
    pub(super) fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<T, Failure> {
        let default = words.first().map_or("", |(word, _)| *word);
        let word = self.get(name)?.unwrap_or(default);
        let found = words.iter().find(|(other, _)| *other == word).map(|(_, meaning)| *meaning);
        let possible = || words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| wrong(name, word, possible()))
    }

    /// A number within these limits.
    pub(super) fn number(&self, name: &str, default: usize, range: RangeInclusive<usize>) -> Result<usize, Failure> {
        let Some(text) = self.get(name)? else { return Ok(default) };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| wrong(name, text, format!("a number from {} to {}", range.start(), range.end())))
    }
}

/// What was given, and what would be right.
pub(super) fn wrong(name: &str, given: &str, possible: impl fmt::Display) -> Failure {
    Failure::bad(format!("{name}=`{}`: possible is {possible}", short(given)))
}

/// A text of the client, for one line of an answer.
pub(super) fn short(text: &str) -> String {
    let cut = text.char_indices().nth(100).map(|(at, _)| at);
    format!("{}{}", text[..cut.unwrap_or(text.len())].escape_debug(), if cut.is_some() { "…" } else { "" })
}
