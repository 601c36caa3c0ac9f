//! Processor time and instructions of a request.

use crate::{
    client::{CONNECTIONS, FIELDS, ask_many},
    process::{CLIENT, TICK, pinned},
    servers::{Kind, PATH, Server},
};
use std::{error::Error, fs, net::SocketAddr, path::Path, process::Stdio};

/// What one round of load gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// Microseconds of processor time per request, in user and kernel mode.
    pub(crate) cpu: f64,
    /// Requests in a second.
    pub(crate) rate: f64,
}

/// Puts load on a server for so many seconds.
pub(crate) fn round(server: &Server, seconds: u64) -> Result<Round, Box<dyn Error>> {
    let (time, connections) = (format!("-d{seconds}s"), format!("-c{CONNECTIONS}"));
    let mut wrk = pinned(CLIENT, &["wrk", "-t1", &connections, &time, "-H", "Host: shop.example"]);
    for (name, value) in FIELDS {
        wrk.args(["-H", &format!("{name}: {value}")]);
    }
    let before = server.process.ticks()?;
    let output = wrk.arg(format!("http://{}{PATH}", server.address)).stdin(Stdio::null()).output()?;
    let used = server.process.ticks()? - before;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(format!("wrk: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let number = |before: &str| {
        let (text, _) = text.split_once(before)?;
        text.split_whitespace().next_back()?.parse::<f64>().ok()
    };
    let requests = number(" requests in ").ok_or("wrk does not tell how many requests it made")?;
    Ok(Round { cpu: used as f64 * TICK / requests, rate: requests / seconds as f64 })
}

/// Instructions per request, outside the kernel, by callgrind: those of many requests less those of few, so that
/// neither starting nor the first requests are part of it.
pub(crate) fn instructions(kind: Kind, origin: SocketAddr, folder: &Path) -> Result<f64, Box<dyn Error>> {
    let many = counted(kind, origin, folder, MANY)?;
    let few = counted(kind, origin, folder, FEW)?;
    let each = (many - few) / (MANY - FEW) as f64;
    if each < FEWEST {
        return Err(format!("callgrind did not count the requests of {}: {many} and {few}", kind.name()).into());
    }
    Ok(each)
}

fn counted(kind: Kind, origin: SocketAddr, folder: &Path, requests: u64) -> Result<f64, Box<dyn Error>> {
    let logs = folder.join(format!("callgrind-{kind:?}-{requests}"));
    fs::create_dir(&logs)?;
    let log = format!("--log-file={}/%p", logs.display());
    // Varnish compiles its configuration.
    let skip = "--trace-children-skip=*gcc*,*cc1*,*collect2*,*/as,*/ld*,*/sh,*/dash,*/bash";
    let out = "--callgrind-out-file=/dev/null";
    let valgrind = ["valgrind", "--tool=callgrind", "--vgdb=no", "--trace-children=yes", skip, &log, out];
    let mut server = kind.start(&valgrind, origin, folder)?;
    ask_many(server.address, PATH, requests)?;
    server.hit()?;
    server.process.end();
    // Of each process that has ended in order; those that became another program have none.
    let mut sum = 0.0;
    for entry in fs::read_dir(&logs)? {
        let text = fs::read_to_string(entry?.path())?;
        let collected = text.lines().find_map(|line| line.split_once("Collected : "));
        sum += collected.map_or(Ok(0.0), |(_, count)| count.trim().parse::<f64>())?;
    }
    Ok(sum)
}

const MANY: u64 = 6000;
const FEW: u64 = 2000;
/// Instructions without which no request is read and answered.
const FEWEST: f64 = 1000.0;
