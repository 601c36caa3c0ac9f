//! A client that keeps its connection, and asks for what `wrk` asks for.

use std::{
    error::Error,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A connection.
#[derive(Debug)]
pub(crate) struct Client(BufReader<TcpStream>);

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its fields, names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn to(address: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        // Longer than anything takes that works.
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks, and waits for the answer.
    pub(crate) fn get(&mut self, path: &str) -> Result<Answer, Box<dyn Error>> {
        self.ask(path)?;
        self.answer()
    }

    fn ask(&mut self, path: &str) -> Result<(), Box<dyn Error>> {
        let fields: String = FIELDS.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n");
        Ok(self.0.get_mut().write_all(request.as_bytes())?)
    }

    fn answer(&mut self) -> Result<Answer, Box<dyn Error>> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200 ") {
            return Err(format!("answered `{}`", line.trim_end()).into());
        }
        let mut fields = Vec::new();
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { fields, body: Vec::new() };
        answer.body.resize(answer.field("content-length").unwrap_or_default().parse()?, 0);
        self.0.read_exact(&mut answer.body)?;
        Ok(answer)
    }
}

impl Answer {
    /// The value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Asks so many times on several connections, by turns, so that the server finds several requests at once.
pub(crate) fn ask_many(address: SocketAddr, path: &str, count: u64) -> Result<(), Box<dyn Error>> {
    let mut clients = (0..CONNECTIONS).map(|_| Client::to(address)).collect::<Result<Vec<_>, _>>()?;
    for _ in 0..count / CONNECTIONS {
        clients.iter_mut().try_for_each(|client| client.ask(path))?;
        clients.iter_mut().try_for_each(|client| client.answer().map(drop))?;
    }
    Ok(())
}

/// At once.
pub(crate) const CONNECTIONS: u64 = 16;

/// What is sent beside `Host`.
pub(crate) const FIELDS: [(&str, &str); 4] = [
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
];
