//! What an entry takes of the memory of the process.

use crate::{
    load::Load,
    peers::{Contents, cache, ready_response},
    turns::runtime,
};
use http::{HeaderValue, Response};
use larder_benches::work::item;
use std::{collections::HashMap, env, error::Error, fs, hint::black_box, process::Command};

/// Bytes of resident memory for each entry, measured in a process of its own.
pub(crate) fn per_entry(name: &str, entries: u32) -> Result<u64, Box<dyn Error>> {
    let output = Command::new(env::current_exe()?).args([OPTION, name, &entries.to_string()]).output()?;
    if !output.status.success() {
        return Err(format!("memory of {name}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// What the child process does: it fills a cache, and answers with the bytes for each entry.
pub(crate) fn measure(name: &str, entries: u32) -> Result<u64, Box<dyn Error>> {
    let contents = Contents { body: 1024, items: entries };
    let runtime = runtime();
    let _entered = runtime.enter();
    // What is allocated once in a process is not part of the entries.
    let _warm = cache(name, contents);
    let before = resident()?;
    if name == PLAIN_MAP {
        let map: HashMap<_, _> = (0..entries).map(|n| (item(n.into()).to_string(), copy(contents))).collect();
        let after = resident()?;
        return Ok((after - before) / black_box(map).len() as u64);
    }
    let mut cache = cache(name, contents).ok_or("there is no such cache")?;
    cache.run(&runtime, &mut Load::in_turn(), entries as usize);
    let after = resident()?;
    let filled = cache.calls();
    cache.run(&runtime, &mut Load::in_turn(), entries as usize);
    if cache.calls() != filled {
        return Err("it has not kept all of them".into());
    }
    Ok((after - before) / u64::from(entries))
}

/// A ready response with bytes of its own.
fn copy(contents: Contents) -> Response<impl Sized> {
    let mut response = ready_response(contents);
    for value in response.headers_mut().values_mut() {
        *value = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
    }
    response
}

/// `VmRSS` in bytes.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("there is no VmRSS")?.parse::<u64>()? * 1024)
}

pub(crate) const OPTION: &str = "--memory-of";
pub(crate) const PLAIN_MAP: &str = "a plain map of ready responses";
