//! An admin API that is played: it insists on what the real one insists on, writes down what it was asked, and answers
//! with samples.

use crate::{
    run::{Run, command},
    samples,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

pub(crate) const TOKEN: &str = "s3cret-t0ken";

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    /// What follows the `?`.
    pub(crate) query: String,
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What is answered: a status, fields, a body.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    fields: Vec<(&'static str, String)>,
    body: String,
}

impl Answer {
    pub(crate) fn of(status: u16, kind: &str, body: impl Into<String>) -> Self {
        Self { status, fields: vec![("content-type", kind.to_owned())], body: body.into() }
    }

    pub(crate) fn json(body: impl Into<String>) -> Self {
        Self::of(200, "application/json", body)
    }

    pub(crate) fn error(status: u16, text: &str) -> Self {
        Self::of(status, "application/json", serde_json::json!({ "error": text }).to_string())
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.fields.push((name, value.to_owned()));
        self
    }
}

type Play = dyn Fn(&Asked, usize) -> Option<Answer> + Send + Sync;

/// A server. It lives as long as the process.
#[derive(Clone)]
pub(crate) struct Mock {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Mock {
    /// One that answers with the samples.
    pub(crate) fn new() -> Self {
        Self::playing(|_, _| None)
    }

    /// One that answers otherwise where this says so; the number is how many requests came before.
    pub(crate) fn playing(play: impl Fn(&Asked, usize) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mock = Self { address: listener.local_addr().unwrap(), asked: Arc::default() };
        let (asked, play): (_, Arc<Play>) = (Arc::clone(&mock.asked), Arc::new(play));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (asked, play) = (Arc::clone(&asked), Arc::clone(&play));
                thread::spawn(move || serve(stream.unwrap(), &asked, &*play));
            }
        });
        mock
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/admin/cache", self.address)
    }

    /// The program with the URL and the token.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command.env("LARDER_URL", self.url()).env("LARDER_TOKEN", TOKEN);
        command
    }

    pub(crate) fn larder(&self, arguments: &[&str]) -> Run {
        Run::of(&self.command(arguments).output().unwrap())
    }

    /// What it was asked, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The same, as paths and queries, and forgotten.
    pub(crate) fn lines(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        let line = |asked: &Asked| {
            let path = asked.path.trim_start_matches("/admin/cache/");
            let query = if asked.query.is_empty() { String::new() } else { format!("?{}", asked.query) };
            format!("{} {path}{query}", asked.method)
        };
        asked.iter().map(line).collect()
    }

    /// What was posted.
    pub(crate) fn posted(&self) -> Vec<(String, Value)> {
        let posted = self.asked().into_iter().filter(|asked| asked.method == "POST");
        posted
            .map(|asked| (asked.path.trim_start_matches("/admin/cache/api/manage/").to_owned(), asked.json()))
            .collect()
    }
}

fn serve(stream: TcpStream, asked: &Mutex<Vec<Asked>>, play: &Play) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(request) = read(&mut reader) {
        let before = {
            let mut asked = asked.lock().unwrap();
            asked.push(request.clone());
            asked.len() - 1
        };
        let answer = play(&request, before).unwrap_or_else(|| by_contract(&request));
        let mut text = format!("HTTP/1.1 {} Said\r\ncontent-length: {}\r\n", answer.status, answer.body.len());
        for (name, value) in &answer.fields {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        if stream.write_all(format!("{text}\r\n{}", answer.body).as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut fields = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = fields.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let (path, query, body) = (path.to_owned(), query.to_owned(), String::from_utf8(body).unwrap());
    Some(Asked { method, path, query, fields, body })
}

/// What the contract has for this.
fn by_contract(asked: &Asked) -> Answer {
    let Some(path) = asked.path.strip_prefix("/admin/cache/") else {
        return Answer::of(404, "text/plain", "Not Found");
    };
    if path == "health" {
        return Answer::json(r#"{"status":"healthy","message":"Cache is working properly"}"#);
    }
    if asked.field("authorization") != format!("Bearer {TOKEN}") {
        return Answer::error(401, "credentials are missing or wrong").with("www-authenticate", "Bearer");
    }
    if asked.method == "POST" {
        let is_meant = asked.field("larder-intent") == "manage" && asked.field("content-type") == "application/json";
        return if is_meant { managed(path, &asked.json()) } else { Answer::error(403, "Larder-Intent is missing") };
    }
    match samples::of(path, &asked.query) {
        Some(sample) if asked.query.contains("format=prometheus") => {
            Answer::of(200, "text/plain; version=0.0.4", sample)
        }
        Some(sample) => Answer::json(sample),
        None => Answer::error(404, "there is nothing"),
    }
}

fn managed(path: &str, body: &Value) -> Answer {
    match path {
        "api/manage/warm" if body["dry_run"] == true => {
            Answer::json(r#"{"dry_run":true,"would":[{"category":"dashboard","requests":40}],"of":40}"#)
        }
        "api/manage/warm" => Answer::of(202, "application/json", r#"{"job":"3"}"#),
        "api/manage/invalidate" if body["preview"] == true => Answer::json(
            r#"{"preview":true,"entries":12,"bytes":3456,"stored_entries":3,"stored_bytes":1024,"complete":true}"#,
        ),
        "api/manage/invalidate" => Answer::json(r#"{"invalidated":true,"confirmed":true,"entries":12}"#),
        "api/manage/clear" if body["confirm"] == body["cache"] => Answer::json(r#"{"cleared":true,"entries":123}"#),
        _ => Answer::error(422, "confirm has to repeat the name of the cache"),
    }
}
