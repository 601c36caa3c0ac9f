//! A value of the file that knows where it stands, so that what is wrong with it can be said.

use super::text::{self, Env};
use crate::config_error::ConfigError;
use std::{borrow::Cow, fmt, ops::Range, time::Duration};
use toml::de::{DeTable, DeValue};

/// The text that is read.
pub(super) struct Source<'a> {
    /// The name of the file, if it is one.
    pub(super) file: Option<&'a str>,
    pub(super) text: &'a str,
    pub(super) env: Env<'a>,
}

/// One value.
#[derive(Clone)]
pub(super) struct Item<'a> {
    source: &'a Source<'a>,
    /// Such as `policies.dashboard.fresh_for`; empty for the whole.
    path: String,
    span: Range<usize>,
    value: Content<'a>,
    /// It may hold a password, and so may what is in it: no error shows what was given.
    is_secret: bool,
}

#[derive(Clone, Copy)]
enum Content<'a> {
    Table(&'a DeTable<'a>),
    Other(&'a DeValue<'a>),
}

/// What a table with known keys has, in the order of the file.
pub(super) struct Fields<'a>(Vec<(&'a str, Item<'a>)>);

impl<'a> Source<'a> {
    /// The root of the file that was parsed from the text.
    pub(super) fn root(&'a self, table: &'a DeTable<'a>) -> Item<'a> {
        Item { source: self, path: String::new(), span: 0..0, value: Content::Table(table), is_secret: false }
    }

    /// What is no TOML.
    pub(super) fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let start = error.span().map_or(0, |span| span.start);
        let line = self.text.lines().nth(self.line(start) - 1).unwrap_or_default();
        let message = error.message().replace('\n', ", ");
        ConfigError::new(format!("{}`{}` is no TOML: {message}", self.place(start), without_secrets(line.trim())))
    }

    fn place(&self, at: usize) -> String {
        match self.file {
            Some(file) => format!("{file}:{}: ", self.line(at)),
            None => format!("line {}: ", self.line(at)),
        }
    }

    fn line(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
    }
}

impl<'a> Item<'a> {
    /// The same, and errors may show what was given: it is no secret.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "for what stands beside passwords"))]
    pub(super) fn plain(&self) -> Self {
        Self { is_secret: false, ..self.clone() }
    }

    #[cfg_attr(not(any(feature = "disk", feature = "redis")), expect(dead_code, reason = "for what may be a text too"))]
    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, Content::Table(_))
    }

    /// That this value is not what it should be: `right` says what would be.
    pub(super) fn error(&self, right: impl fmt::Display) -> ConfigError {
        self.said(self.given(), right)
    }

    /// That there is no such key. Nobody knows what its value is: what the environment says of it, such as the URL of a
    /// store with its password, stays out of the text.
    fn no_such_key(&self, key: &str, known: &[&'static str], hints: &[(&str, &str)]) -> ConfigError {
        let plain = key.to_ascii_lowercase().replace('-', "_");
        let is_shown = !["redis", "pass", "secret"].iter().any(|word| plain.contains(word));
        let written = self.written().filter(|written| is_shown && !written.contains("://"));
        match hints.iter().find(|(hinted, _)| *hinted == plain) {
            Some((_, says)) => self.said(written, format_args!("no such key: {says}")),
            None if STORES.contains(&&*plain) => self.said(
                None,
                "no such key: a cache says what is behind its memory: write redis = \"redis://..\" in [caches.NAME]",
            ),
            None => self.said(written, format_args!("no such key: {}", no_such(key, known.iter().copied()))),
        }
    }

    fn said(&self, given: Option<String>, right: impl fmt::Display) -> ConfigError {
        let place = self.source.place(self.span.start);
        ConfigError::new(match given {
            Some(given) => format!("{place}{} = {given}: {right}", self.path),
            None if self.path.is_empty() => format!("{place}{right}"),
            None => format!("{place}{}: {right}", self.path),
        })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The value as it was written, and what became of it.
    fn given(&self) -> Option<String> {
        let written = self.written()?;
        match self.expanded() {
            Ok(Some(expanded)) => Some(format!("{written} (`{}`)", shortened(&expanded))),
            _ => Some(written),
        }
    }

    /// The value as it was written. Nothing of a secret, nor of a table: it may be long.
    fn written(&self) -> Option<String> {
        let Content::Other(_) = self.value else { return None };
        if self.is_secret {
            return None;
        }
        self.source.text.get(self.span.clone()).map(shortened)
    }

    /// The fields of a table with these keys and no others. `hints` are for keys that people try.
    pub(super) fn fields(&self, known: &[&'static str], hints: &[(&str, &str)]) -> Result<Fields<'a>, ConfigError> {
        let mut fields = self.entries()?;
        fields.sort_by_key(|(_, item)| item.span.start);
        match fields.iter().find(|(key, _)| !known.contains(key)) {
            Some((key, item)) => Err(item.no_such_key(key, known, hints)),
            None => Ok(Fields(fields)),
        }
    }

    /// The entries of a table whose keys are the writer's own.
    pub(super) fn entries(&self) -> Result<Vec<(&'a str, Item<'a>)>, ConfigError> {
        let Content::Table(table) = self.value else {
            return Err(self.error(format_args!("a table is expected here: [{}]", self.path)));
        };
        Ok(table
            .iter()
            .map(|(key, value)| {
                let name: &'a str = key.get_ref();
                (name, self.inner(dotted(&self.path, name), value))
            })
            .collect())
    }

    /// The elements of an array.
    pub(super) fn elements(&self, right: &str) -> Result<Vec<Item<'a>>, ConfigError> {
        match self.value {
            Content::Other(DeValue::Array(array)) => {
                let inner = |(index, value)| self.inner(format!("{}[{index}]", self.path), value);
                Ok(array.iter().enumerate().map(inner).collect())
            }
            _ => Err(self.error(right)),
        }
    }

    fn inner(&self, path: String, value: &'a toml::Spanned<DeValue<'a>>) -> Item<'a> {
        let content = match value.get_ref() {
            DeValue::Table(table) => Content::Table(table),
            other => Content::Other(other),
        };
        Item { source: self.source, path, span: value.span(), value: content, is_secret: self.is_secret }
    }

    /// A text, with what the environment says in it.
    pub(super) fn text(&self) -> Result<Cow<'a, str>, ConfigError> {
        self.text_or("a text in quotes is expected")
    }

    /// A text, or the error that says what else might have been there.
    pub(super) fn text_or(&self, right: &str) -> Result<Cow<'a, str>, ConfigError> {
        self.string()?.ok_or_else(|| self.error(right))
    }

    /// A text, or a number that is meant as one.
    pub(super) fn word(&self) -> Result<String, ConfigError> {
        match (self.string()?, self.integer()) {
            (Some(text), _) => Ok(text.into_owned()),
            (None, Some(number)) => Ok(number.to_string()),
            (None, None) => Err(self.error("a text in quotes, or a whole number, is expected")),
        }
    }

    pub(super) fn words(&self) -> Result<Vec<String>, ConfigError> {
        let list = self.elements("a list of texts is expected, such as [\"one\", \"two\"]")?;
        list.iter().map(Self::word).collect()
    }

    /// One of these words.
    pub(super) fn one_of<T: Copy>(&self, words: &[(&'static str, T)]) -> Result<T, ConfigError> {
        let text = self.string()?;
        let known = words.iter().map(|(word, _)| *word);
        let found = text.as_deref().and_then(|text| words.iter().find(|(word, _)| *word == text));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| self.error(format_args!("one of {} is expected", list(known))))
    }

    pub(super) fn flag(&self) -> Result<bool, ConfigError> {
        match (self.value, self.expanded()?.as_deref()) {
            (Content::Other(DeValue::Boolean(flag)), _) => Ok(*flag),
            (_, Some("true")) => Ok(true),
            (_, Some("false")) => Ok(false),
            _ => Err(self.error("true or false, without quotes, is expected")),
        }
    }

    pub(super) fn count(&self) -> Result<usize, ConfigError> {
        let text = self.expanded()?;
        let number = self.integer().or_else(|| text?.parse().ok());
        let number = number.and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| self.error("a whole number, without quotes, is expected"))
    }

    /// A number that need not be whole.
    pub(super) fn number(&self) -> Result<f64, ConfigError> {
        let written = match self.value {
            Content::Other(DeValue::Float(number)) => Some(number.as_str().to_owned()),
            _ => self.expanded()?.map(Cow::into_owned),
        };
        let number = self.integer().map(|number| number as f64).or_else(|| written?.parse().ok());
        number.ok_or_else(|| self.error("a number, without quotes, is expected"))
    }

    pub(super) fn duration(&self) -> Result<Duration, ConfigError> {
        let text = self.string()?;
        text.as_deref().and_then(text::duration).ok_or_else(|| {
            self.error(
                "a duration is whole numbers with units in quotes: \"90s\", \"10m\", \"1h30m\", \"1d\", \"500ms\"",
            )
        })
    }

    /// A number of bytes.
    pub(super) fn size(&self) -> Result<usize, ConfigError> {
        let text = self.string()?;
        let bytes = self.integer().and_then(|bytes| usize::try_from(bytes).ok());
        bytes.or_else(|| text.as_deref().and_then(text::size)).ok_or_else(|| {
            self.error("a size is a number of bytes, or a number with KiB, MiB or GiB in quotes, such as \"64 MiB\"")
        })
    }

    fn string(&self) -> Result<Option<Cow<'a, str>>, ConfigError> {
        match self.value {
            Content::Other(DeValue::String(text)) => {
                text::expand(text, self.source.env).map(Some).map_err(|right| self.said(self.written(), right))
            }
            _ => Ok(None),
        }
    }

    /// A text that the environment had a part in: it may stand for what else has no quotes.
    fn expanded(&self) -> Result<Option<Cow<'a, str>>, ConfigError> {
        Ok(self.string()?.filter(|text| matches!(text, Cow::Owned(_))))
    }

    fn integer(&self) -> Option<i64> {
        match self.value {
            Content::Other(DeValue::Integer(number)) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        }
    }
}

impl<'a> Fields<'a> {
    /// The same, and no error shows what this field holds.
    pub(super) fn with_secret(mut self, key: &str) -> Self {
        for (_, item) in self.0.iter_mut().filter(|(found, _)| *found == key) {
            item.is_secret = true;
        }
        self
    }

    /// All of them.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "for a table of a store"))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &(&'a str, Item<'a>)> {
        self.0.iter()
    }

    pub(super) fn get(&self, key: &str) -> Option<&Item<'a>> {
        self.0.iter().find(|(found, _)| *found == key).map(|(_, item)| item)
    }

    /// The error for what a check says of the whole. It names the fields without which that would not be said, as far
    /// as leaving out one at a time tells; `without` says what is wrong without this field.
    pub(super) fn blame(&self, whole: &Item<'_>, wrong: &str, without: impl Fn(&str) -> Option<String>) -> ConfigError {
        let blamed = self.0.iter().filter(|(key, _)| without(key).as_deref() != Some(wrong));
        let mut blamed = blamed.map(|(_, item)| item);
        let Some(first) = blamed.next() else { return whole.error(wrong) };
        let others: Vec<_> = blamed.map(Item::path).collect();
        match others.is_empty() {
            true => first.error(wrong),
            false => first.error(format_args!("{wrong} (together with {})", others.join(", "))),
        }
    }
}

/// What to say of a name that is none of those that there are.
pub(super) fn no_such<'n>(given: &str, names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.collect();
    match text::nearest(given, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "there are none".to_owned(),
        None => format!("there are {}", list(names.into_iter())),
    }
}

fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A key path as TOML writes it.
fn dotted(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let key = if bare { Cow::Borrowed(key) } else { format!("\"{}\"", key.escape_debug()).into() };
    if path.is_empty() { key.into_owned() } else { format!("{path}.{key}") }
}

/// A line that could not be read. Of one that has a URL or a password no value is shown.
fn without_secrets(line: &str) -> String {
    if !line.contains("://") && !line.to_ascii_lowercase().contains("pass") {
        return shortened(line);
    }
    let ends = [line.find('=').map(|at| at + 1), line.find("://")];
    let end = ends.into_iter().flatten().min().unwrap_or(0);
    shortened(&line[..end]) + "…"
}

/// At most one line of not too many letters.
fn shortened(text: &str) -> String {
    let mut letters = text.chars();
    let mut short: String = letters.by_ref().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if letters.next().is_some() {
        short.push('…');
    }
    short
}

/// Keys under which other versions, and other caches, describe stores.
const STORES: [&str; 6] = ["backend", "disk", "location", "redis", "servers", "stores"];
