//! What can be said on the command line.

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::{path::PathBuf, time::Duration};

/// Looks into the cache of an application that runs, and changes it.
///
/// It speaks to the application's admin API. `status`, `keys` and `invalidate` can do without the application: --redis.
#[derive(Debug, Parser)]
#[command(name = "larder", version, disable_version_flag = true, disable_help_subcommand = true, max_term_width = 100)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 not reachable, 4 not authorised, \
     5 invalidated without the shared log's confirmation.";

#[derive(Args, Debug)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Where the application has mounted the admin API
    #[arg(
        long,
        global = true,
        env = "LARDER_URL",
        hide_env_values = true,
        default_value = "http://localhost:3000/admin/cache"
    )]
    pub(crate) url: String,
    /// The token of the admin API; better in LARDER_TOKEN or a file, as others can list the arguments of a process
    #[arg(long, global = true, conflicts_with = "token_file")]
    pub(crate) token: Option<String>,
    /// A file that holds the token; `-` reads it from the standard input
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The authorities (PEM) to trust for https:// and rediss://, in place of the system's
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The name of a cache, where the application has several
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) cache: Option<String>,
    /// JSON for scripts, in place of tables; errors are JSON too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Shows what is asked and answered, and more columns
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    /// How long to wait for an answer: `10`, `500ms`, `2m`
    #[arg(long, global = true, default_value = "10s", value_parser = span)]
    pub(crate) timeout: Duration,
    /// Without a running application, for `status`, `keys` and `invalidate`: the Redis that has the shared log, as
    /// redis://, rediss:// or redis+unix://. `env` takes it from REDIS_URL, which keeps a password out of the list of
    /// processes. Several, with commas, for --cluster and --sentinel
    #[arg(long, global = true, value_name = "URL", value_delimiter = ',', requires = "namespace")]
    pub(crate) redis: Vec<String>,
    /// With --redis: the namespace of the cache, as its builder was told. With --cache NAME it is that of `Caches`
    #[arg(long, global = true, requires = "redis")]
    pub(crate) namespace: Option<String>,
    /// With --redis, for `status` and `keys`: the version of the data, as the builder was told. Alone: that of larder
    #[arg(long, global = true, value_name = "V", num_args = 0..=1, default_missing_value = "")]
    pub(crate) version: Option<String>,
    /// With --redis: it is a cluster
    #[arg(long, global = true, requires = "redis", conflicts_with = "sentinel")]
    pub(crate) cluster: bool,
    /// With --redis: the URLs are those of sentinels, which watch this group
    #[arg(long, global = true, requires = "redis", value_name = "GROUP")]
    pub(crate) sentinel: Option<String>,
    /// The version of larder
    #[arg(short = 'V', action = ArgAction::Version)]
    print_version: Option<bool>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What is there and how it is: caches, memory, stores, the log, the warmer
    Status,
    /// Whether the cache works, as the public health check says
    Health {
        /// Fails (1) unless it is healthy
        #[arg(long)]
        strict: bool,
    },
    /// Counts and latencies, in total and over 1 min, 5 min and 1 h
    Metrics(Metrics),
    /// The last report, and a summary of the last days
    Report {
        /// How many days to sum up, up to the 7 that are kept
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=7))]
        days: u32,
    },
    /// What could be better, and the change that would do it
    Advice,
    /// Who has done what through the admin API, newest first
    Audit {
        /// How many actions
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// The keys that are held
    Keys(Keys),
    /// One entry, by the id that `keys --ids` shows
    Entry {
        /// The id
        id: String,
    },
    /// What the cache would do with a request, and why
    Explain(Explain),
    /// Measures a URL of the application: how long hits and misses take. Fails (1) if nothing is ever a hit
    Test(Measure),
    /// Fills the cache before anybody asks, and waits for it
    Warm(Warm),
    /// Makes sure that what is selected is not served any more
    Invalidate(Invalidate),
    /// Empties a cache: drops what memory holds, and invalidates everything
    Clear {
        /// Does not ask for the name of the cache
        #[arg(long)]
        force: bool,
    },
    /// The policies in force
    ListPolicies,
    /// What depends on what: models, tags, policies, values
    ListDependencies,
    /// The paths and tags that most of the memory is held for
    ListPatterns,
    /// What can be warmed
    ListCategories,
    /// A script that completes commands and options
    Completions {
        /// Whose
        shell: Shell,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Metrics {
    /// In the text format of Prometheus
    #[arg(long, conflicts_with_all = ["policy", "tenant", "json"])]
    pub(crate) prometheus: bool,
    /// Of this policy alone
    #[arg(long, conflicts_with = "tenant")]
    pub(crate) policy: Option<String>,
    /// Of this tenant alone
    #[arg(long)]
    pub(crate) tenant: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Keys {
    /// What the text of the keys is like; `*` stands for anything: `tenant=1:*dashboard*`
    pub(crate) pattern: Option<String>,
    /// Those of this tenant
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Those of this policy
    #[arg(long)]
    pub(crate) policy: Option<String>,
    /// Those with this tag
    #[arg(long)]
    pub(crate) tag: Option<String>,
    /// By what to sort
    #[arg(long, value_enum)]
    pub(crate) sort: Option<Sort>,
    /// In which order; default: descending, keys ascending
    #[arg(long, value_enum, requires = "sort")]
    pub(crate) order: Option<Order>,
    /// How many at most; 0: all of them
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: usize,
    /// Shows the ids, for `entry`; with --redis the keys in Redis
    #[arg(long)]
    pub(crate) ids: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    Size,
    Age,
    Hits,
    Ttl,
    Key,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    Asc,
    Desc,
}

#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// The target, such as `/dashboard?days=30`
    pub(crate) uri: String,
    /// The method
    #[arg(long, default_value = "GET")]
    pub(crate) method: String,
    /// A field of the request, `Name: value`; may be repeated
    #[arg(long, value_name = "FIELD", value_parser = field)]
    pub(crate) header: Vec<(String, String)>,
    /// Whose request it is
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Who asks
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// By this policy, in place of the one that the route has
    #[arg(long)]
    pub(crate) policy: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Measure {
    /// Path and query to ask for
    #[arg(long, default_value = "/")]
    pub(crate) path: String,
    /// How often
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub(crate) requests: u32,
    /// Where the application is; default: the host of --url
    #[arg(long, value_name = "URL")]
    pub(crate) base: Option<String>,
    /// A field of the requests, `Name: value`, such as those of the application's own log-in; may be repeated
    #[arg(long, value_name = "FIELD", value_parser = field)]
    pub(crate) header: Vec<(String, String)>,
    /// Before each of so many requests the resource is invalidated, so that misses are measured too: takes full access
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) misses: u32,
}

#[derive(Args, Debug)]
pub(crate) struct Warm {
    /// Which categories, with commas; default: all
    #[arg(long, visible_alias = "categories", value_delimiter = ',')]
    pub(crate) category: Vec<String>,
    /// For this tenant alone
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Also what has been warmed a short while ago
    #[arg(long)]
    pub(crate) force: bool,
    /// Only tells what would be warmed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Does not wait for it
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) no_wait: bool,
    /// Waits for one that was started before
    #[arg(long, value_name = "ID", conflicts_with_all = ["category", "tenant", "force", "dry_run", "no_wait"])]
    pub(crate) job: Option<String>,
}

#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").multiple(false)
    .args(["tag", "resource", "pattern", "policy", "user", "changed", "all"])))]
pub(crate) struct Invalidate {
    /// What has this tag, `item:*` for all that begin alike; repeated: what has all of them
    #[arg(long)]
    pub(crate) tag: Vec<String>,
    /// All variants of one resource: an absolute URI, or path and query
    #[arg(long, value_name = "URI")]
    pub(crate) resource: Option<String>,
    /// What has a key like this; `*` stands for anything
    #[arg(long, value_name = "GLOB")]
    pub(crate) pattern: Option<String>,
    /// What was stored by this policy
    #[arg(long)]
    pub(crate) policy: Option<String>,
    /// What is keyed on this user of the tenant
    #[arg(long, requires = "tenant")]
    pub(crate) user: Option<String>,
    /// What depends on this name, such as a model. With --redis the application's graph of dependencies is not at hand:
    /// then only what a policy says it depends on (`Policy::depends_on`) is hit
    #[arg(long, visible_alias = "model", value_name = "NAME")]
    pub(crate) changed: Option<String>,
    /// With --changed: which one of it has changed
    #[arg(long, requires = "changed")]
    pub(crate) id: Option<String>,
    /// Everything; asks, unless --force
    #[arg(long)]
    pub(crate) all: bool,
    /// Of this tenant alone; without anything else: all that is this tenant's
    #[arg(long, visible_alias = "tenant-id")]
    pub(crate) tenant: Option<String>,
    /// Makes it stale: it may still be served while it is refreshed, or if the application fails
    #[arg(long)]
    pub(crate) soft: bool,
    /// Only tells how much it would hit
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Does not ask; with --redis: also where nothing is known of a log
    #[arg(long)]
    pub(crate) force: bool,
}

/// `10`, `10s`, `500ms` or `2m`.
fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: `10`, `10s`, `500ms` and `2m` are");
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let span = match &text[digits..] {
        "ms" => Duration::from_millis(number),
        "" | "s" => Duration::from_secs(number),
        "m" | "min" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err(wrong()),
    };
    match span.is_zero() || span > Duration::from_secs(3600) {
        true => Err(format!("`{text}`: 1 ms to 1 h are possible")),
        false => Ok(span),
    }
}

/// A field, as `Name: value`.
fn field(text: &str) -> Result<(String, String), String> {
    let wrong = || format!("`{}` is no field: `Accept: text/html` would be one", text.escape_debug());
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name: http::HeaderName = name.trim().parse().map_err(|_| wrong())?;
    let value: http::HeaderValue = value.trim().parse().map_err(|_| wrong())?;
    let value = value.to_str().map_err(|_| wrong())?;
    Ok((name.as_str().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_do_not_contradict_themselves() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn spans() {
        assert_eq!(span("10"), Ok(Duration::from_secs(10)));
        assert_eq!(span("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(span("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "x", "0", "-1", "1.5s", "1h", "99999999999999999999", "9999m"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fields() {
        assert_eq!(field("Accept: text/html"), Ok(("accept".to_owned(), "text/html".to_owned())));
        assert!(field("Accept").is_err());
        assert!(field("a b: c").is_err());
        assert!(field("a: b\nc").is_err());
    }
}
