//! Finding the primary of a group by asking its sentinels.

use super::{
    address::{Address, Url},
    dial::{Dialer, Driver, Login, Refusal},
    fault::{Fault, answer},
    run::first,
};
use redis::{Value, aio::MultiplexedConnection};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::time::timeout;

/// The sentinels that watch a group of servers.
#[derive(Debug)]
pub(super) struct Sentinels {
    places: Vec<(Address, Login)>,
    group: String,
    /// The one that knew last time.
    good: AtomicUsize,
}

impl Sentinels {
    pub(super) fn new(urls: &[Url], group: &str) -> Self {
        let places = urls.iter().map(|url| {
            let login = Login { username: url.username.clone(), password: url.password.clone(), database: 0 };
            (url.address.clone(), login)
        });
        Self { places: places.collect(), group: group.to_owned(), good: AtomicUsize::new(0) }
    }

    pub(super) fn name(&self) -> &str {
        &self.group
    }

    /// A connection to the server that is the primary now, and says so itself.
    pub(super) async fn dial_master(&self, dialer: &Dialer) -> Result<(MultiplexedConnection, Driver), Refusal> {
        let good = self.good.load(Ordering::Relaxed);
        let mut refusal = Refusal::new(Fault::Unconnected, "no sentinel was given");
        for step in 0..self.places.len() {
            let index = (good + step) % self.places.len();
            let (place, login) = &self.places[index];
            let asked = timeout(SENTINEL_LIMIT, self.ask(dialer, place, login)).await;
            match asked.unwrap_or_else(|_| Err(Refusal::new(Fault::Timeout, "no answer"))) {
                Ok(master) => match dial_primary(dialer, &master).await {
                    Ok(connected) => {
                        self.good.store(index, Ordering::Relaxed);
                        return Ok(connected);
                    }
                    // During a failover one of them may know more than the others.
                    Err(error) => refusal = Refusal { text: format!("{master}: {}", error.text), ..error },
                },
                Err(error) => refusal = Refusal { text: format!("sentinel {place}: {}", error.text), ..error },
            }
        }
        Err(refusal)
    }

    async fn ask(&self, dialer: &Dialer, place: &Address, login: &Login) -> Result<Address, Refusal> {
        let dialer = Dialer { login: login.clone(), tls: dialer.tls.clone(), pushes: None };
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.group);
        let (mut connection, driver) = dialer.dial(place).await?;
        let value = once(&mut connection, driver, &command).await?;
        let refusal = || Refusal::new(Fault::Protocol, format!("it knows no group `{}`", self.group));
        let (host, port): (String, u16) = redis::from_redis_value(value).map_err(|_| refusal())?;
        Ok(Address::Tcp { host: host.into(), port, tls: place.is_tls() })
    }
}

/// A sentinel may not have noticed yet: the server itself must agree.
async fn dial_primary(dialer: &Dialer, address: &Address) -> Result<(MultiplexedConnection, Driver), Refusal> {
    let (mut connection, mut driver) = dialer.dial(address).await?;
    let value = once(&mut connection, &mut driver, &redis::cmd("ROLE")).await?;
    let role = match value {
        Value::Array(parts) => parts.into_iter().next().and_then(|role| redis::from_redis_value::<String>(role).ok()),
        _ => None,
    };
    match role.as_deref() {
        Some("master") => Ok((connection, driver)),
        _ => Err(Refusal::new(Fault::Demoted, "it is not the primary of its group")),
    }
}

/// Asks on a connection that nobody drives yet.
pub(super) async fn once(
    connection: &mut MultiplexedConnection,
    driver: impl Future<Output = ()>,
    command: &redis::Cmd,
) -> Result<Value, Refusal> {
    let asked =
        async { connection.send_packed_command(command).await.map_err(|error| Fault::of(&error)).and_then(answer) };
    let driven = async {
        driver.await;
        Err(Fault::Broken)
    };
    first(asked, driven).await.map_err(|fault| Refusal::new(fault.clone(), format!("{fault:?}")))
}

/// With three of them and the server, a trial stays within its limit.
const SENTINEL_LIMIT: Duration = Duration::from_secs(1);
