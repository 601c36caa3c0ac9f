//! Carries bytes one way.

use super::{
    Shared,
    damage::{Awaited, Commands, Passed, Replies},
    fault::{Faults, OneWay},
};
use crate::{Close, Way};
use std::{future::pending, sync::atomic::Ordering, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{ReadHalf, WriteHalf},
    select,
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

/// One way of one connection.
#[derive(Debug)]
pub(super) struct Pump<'a> {
    pub(super) way: Way,
    pub(super) connection: u64,
    pub(super) shared: &'a Shared,
    pub(super) awaited: &'a Awaited,
}

/// What has come, on its way to the other side.
#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    End(Close),
    Silence,
}

impl Pump<'_> {
    /// Carries until one side has closed. Returns how the connection ends.
    pub(super) async fn run(&self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> Close {
        // Reading goes on while pieces wait: a delay makes them late, not rare.
        let (sender, receiver) = mpsc::channel(PIECES);
        let read = async {
            self.read(from, sender).await;
            pending().await
        };
        select! {
            how = self.write(to, receiver) => how,
            never = read => never,
        }
    }

    async fn read(&self, mut from: ReadHalf<'_>, sender: mpsc::Sender<(Instant, Piece)>) {
        let (mut commands, mut replies) = (Commands::default(), Replies::default());
        let mut buffer = vec![0; PIECE];
        loop {
            let length = from.read(&mut buffer).await.unwrap_or_default();
            if length == 0 {
                drop(sender.send((now(), Piece::End(Close::Fin))).await);
                return;
            }
            let bytes = &buffer[..length];
            let (passed, then) = match self.way {
                Way::ToServer => {
                    commands.pass(bytes, self.shared, self.awaited);
                    (bytes.to_vec(), Passed::All)
                }
                Way::ToClient => {
                    let mut passed = Vec::with_capacity(length);
                    let then = replies.pass(bytes, &mut passed, self.shared, self.awaited);
                    (passed, then)
                }
            };
            let last = match then {
                Passed::All => None,
                Passed::Closed(how) => Some(Piece::End(how)),
                Passed::Silenced => Some(Piece::Silence),
            };
            for piece in [Some(Piece::Bytes(passed)), last].into_iter().flatten() {
                drop(sender.send((now(), piece)).await);
            }
        }
    }

    async fn write(&self, mut to: WriteHalf<'_>, mut receiver: mpsc::Receiver<(Instant, Piece)>) -> Close {
        let mut faults = self.shared.faults.subscribe();
        let mut silent = false;
        let mut number = 0;
        while let Some((came, piece)) = receiver.recv().await {
            self.wait(came, number, &mut faults).await;
            number += 1;
            silent |= self.state(&mut faults).black_hole;
            match piece {
                Piece::Bytes(_) if silent => {}
                Piece::Bytes(bytes) => silent = !self.deliver(&bytes, &mut to, &mut faults).await,
                // A client that has gone is no secret: its connection to the server is of no use.
                Piece::End(how) if !silent || self.way == Way::ToServer => return how,
                Piece::End(_) => break,
                Piece::Silence => silent = true,
            }
        }
        pending().await
    }

    /// Waits until a piece has been on its way for as long as it should be by now.
    async fn wait(&self, came: Instant, number: u64, faults: &mut watch::Receiver<Faults>) {
        loop {
            let due = came + self.state(faults).delay(self.connection, number);
            if due <= now() {
                return;
            }
            select! {
                () = sleep_until(due) => {}
                _ = changed(faults) => {}
            }
        }
    }

    /// Whether all could be delivered.
    async fn deliver(&self, mut bytes: &[u8], to: &mut WriteHalf<'_>, faults: &mut watch::Receiver<Faults>) -> bool {
        let counter = match self.way {
            Way::ToClient => &self.shared.to_client,
            Way::ToServer => &self.shared.to_server,
        };
        while !bytes.is_empty() {
            let state = self.state(faults);
            if state.black_hole {
                return false;
            }
            let mut length = bytes.len();
            if let Some(rate) = state.bytes_per_second {
                length = length.min(usize::try_from(rate / 50).unwrap_or(usize::MAX).max(1));
                select! {
                    () = sleep(Duration::from_secs_f64(length as f64 / rate as f64)) => {}
                    _ = changed(faults) => continue,
                }
            }
            // Where this fails, the other way tells.
            if to.write_all(&bytes[..length]).await.is_err() {
                return false;
            }
            counter.fetch_add(length as u64, Ordering::SeqCst);
            bytes = &bytes[length..];
        }
        true
    }

    fn state(&self, faults: &mut watch::Receiver<Faults>) -> OneWay {
        faults.borrow_and_update().way(self.way)
    }
}

/// When the faults have changed.
async fn changed(faults: &mut watch::Receiver<Faults>) {
    if faults.changed().await.is_err() {
        // The proxy is gone, and so will be this connection.
        pending::<()>().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a delay is one of real time")]
fn now() -> Instant {
    Instant::now()
}

/// How many bytes a piece has.
const PIECE: usize = 16 << 10;

/// How many pieces may be on their way.
const PIECES: usize = 64;
