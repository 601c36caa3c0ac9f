//! The commands, over the admin API: what is asked, and how it is shown. Nothing here decides about a cache: that does
//! the application. What speaks to Redis itself is in `redis`, how answers are fetched in `client`.

mod explain;
mod figures;
mod invalidate;
mod keys;
mod lists;
mod measure;
mod report;
mod status;
mod warm;

pub(crate) use invalidate::nothing_selected;

use crate::{
    args::{Arguments, Command, Global},
    client::Client,
    fault::Fault,
    out::Out,
    url::Query,
};
use clap::CommandFactory;
use clap_complete::Shell;
use serde_json::Value;

/// What every command has at hand.
pub(crate) struct Desk<'a> {
    pub(crate) global: &'a Global,
    pub(crate) client: Client<'a>,
    pub(crate) out: &'a Out,
}

impl Desk<'_> {
    /// A query that names the cache, if one was named.
    fn query(&self) -> Query {
        Query::default().maybe("cache", self.global.cache.as_ref())
    }

    /// The answer to it.
    async fn of_cache(&mut self, path: &str) -> Result<Value, Fault> {
        let query = self.query();
        self.client.get(path, query).await
    }
}

pub(crate) async fn run(global: &Global, command: Command, out: &Out) -> Result<(), Fault> {
    if global.version.is_some() {
        return Err(Fault::usage("--version V goes with --redis: through the admin API, the application has its own"));
    }
    let mut desk = Desk { global, client: Client::new(global, out)?, out };
    let desk = &mut desk;
    match command {
        Command::Status => status::status(desk).await,
        Command::Health { strict } => status::health(desk, strict).await,
        Command::Metrics(of) => figures::metrics(desk, &of).await,
        Command::Report { days } => report::report(desk, days).await,
        Command::Advice => report::advice(desk).await,
        Command::Audit { limit } => report::audit(desk, limit).await,
        Command::Keys(what) => keys::keys(desk, &what).await,
        Command::Entry { id } => keys::entry(desk, &id).await,
        Command::Explain(request) => explain::explain(desk, &request).await,
        Command::Test(what) => measure::test(desk, &what).await,
        Command::Warm(what) => warm::warm(desk, &what).await,
        Command::Invalidate(what) => invalidate::invalidate(desk, &what).await,
        Command::Clear { force } => invalidate::clear(desk, force).await,
        Command::ListPolicies => lists::policies(desk).await,
        Command::ListDependencies => lists::dependencies(desk).await,
        Command::ListPatterns => lists::patterns(desk).await,
        Command::ListCategories => lists::categories(desk).await,
        Command::Completions { shell } => completions(shell, out),
    }
}

pub(crate) fn completions(shell: Shell, out: &Out) -> Result<(), Fault> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "larder", &mut script);
    out.raw(&String::from_utf8_lossy(&script))
}
