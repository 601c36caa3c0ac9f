//! A client that sends and reads bytes.

use larder_redis_tests::within;
use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

pub(crate) struct Raw(TcpStream);

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn send(&mut self, args: &[&str]) {
        let mut command = format!("*{}\r\n", args.len());
        args.iter().for_each(|arg| command += &format!("${}\r\n{arg}\r\n", arg.len()));
        self.0.write_all(command.as_bytes()).await.unwrap();
    }

    /// Sends a command and insists on the reply.
    pub(crate) async fn ask(&mut self, args: &[&str], reply: &str) {
        self.send(args).await;
        self.expect(reply).await;
    }

    /// Reads as much as is expected.
    pub(crate) async fn expect(&mut self, reply: &str) {
        let mut read = vec![0; reply.len()];
        within("a reply", self.0.read_exact(&mut read)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&read), reply);
    }

    /// Reads until this has come.
    pub(crate) async fn skip_to(&mut self, end: &str) {
        let mut read = Vec::new();
        within("a reply", async {
            while !read.ends_with(end.as_bytes()) {
                read.push(self.0.read_u8().await.unwrap());
            }
        })
        .await;
    }

    /// Reads until the connection ends.
    pub(crate) async fn rest(&mut self) -> (String, io::Result<()>) {
        let mut rest = Vec::new();
        let end = within("the end of a connection", self.0.read_to_end(&mut rest)).await;
        (String::from_utf8(rest).unwrap(), end.map(drop))
    }

    /// Whether nothing comes for a moment. A slow machine makes this true more easily, never false.
    pub(crate) async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(100), self.0.read_u8()).await.is_err()
    }
}
