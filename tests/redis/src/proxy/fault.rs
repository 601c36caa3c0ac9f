//! What a proxy can do to what passes through it.

use std::time::Duration;

/// What is wrong, until [`Proxy::clear`](crate::Proxy::clear).
#[derive(Clone, Debug)]
pub enum Fault {
    /// What comes this way is swallowed, and no end of a connection is passed on either. A connection that has lost
    /// something stays silent this way, also after it was cleared: its stream has a hole.
    BlackHole {
        /// Which way.
        way: Way,
    },
    /// What comes this way arrives later. The order stays.
    Delay {
        /// Which way.
        way: Way,
        /// At least so much later.
        by: Duration,
        /// Up to so much more, at random.
        jitter: Duration,
        /// The random numbers of each connection follow from it.
        seed: u64,
    },
    /// Nobody listens: new connections are refused. Those that exist go on.
    Refuse,
    /// Replies are damaged. Needs plain RESP, without TLS.
    Reply {
        /// Those to commands with these bytes in their first 4 KiB as sent. Empty: all.
        of: Vec<u8>,
        /// What happens to them.
        damage: Damage,
        /// To how many of them, from the next such command on.
        times: usize,
    },
    /// What comes this way comes slowly.
    Throttle {
        /// Which way.
        way: Way,
        /// On each connection.
        bytes_per_second: u64,
    },
}

impl Fault {
    /// A delay without jitter.
    pub fn delay(way: Way, by: Duration) -> Self {
        Self::Delay { way, by, jitter: Duration::ZERO, seed: 0 }
    }

    /// Damages the reply to the next command with these bytes.
    pub fn reply(of: impl Into<Vec<u8>>, damage: Damage) -> Self {
        Self::Reply { of: of.into(), damage, times: 1 }
    }
}

/// What happens to a reply. The command has reached the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Damage {
    /// The connection is closed after so many of its bytes, if it has more.
    Cut {
        /// 0: nothing of it arrives.
        after: usize,
        /// How it is closed.
        how: Close,
    },
    /// It is taken out. Later replies look like those of the commands before them.
    Drop,
    /// It comes twice. Later replies look like those of the commands after them.
    Duplicate,
    /// One bit of a byte is wrong, if it is that long.
    Flip {
        /// Which byte, counted from the type byte of the reply.
        at: usize,
    },
    /// Neither it nor anything after it arrives, and the connection stays open.
    Silence,
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Close {
    /// As after an orderly end: the client reads the end of the stream.
    Fin,
    /// As after a crash: the client reads "connection reset".
    Rst,
}

/// A direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// Replies.
    ToClient,
    /// Commands.
    ToServer,
}

/// All that is wrong now.
#[derive(Debug, Default)]
pub(super) struct Faults {
    to_client: OneWay,
    to_server: OneWay,
    replies: Vec<Replies>,
}

/// What is wrong one way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OneWay {
    pub(super) black_hole: bool,
    pub(super) bytes_per_second: Option<u64>,
    delay: Option<(Duration, Duration, u64)>,
}

#[derive(Debug)]
struct Replies {
    of: Vec<u8>,
    damage: Damage,
    left: usize,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        match fault {
            Fault::BlackHole { way } => self.way_mut(way).black_hole = true,
            Fault::Delay { way, by, jitter, seed } => self.way_mut(way).delay = Some((by, jitter, seed)),
            // The listener is not part of it.
            Fault::Refuse => {}
            Fault::Reply { of, damage, times } => self.replies.push(Replies { of, damage, left: times }),
            Fault::Throttle { way, bytes_per_second } => {
                self.way_mut(way).bytes_per_second = Some(bytes_per_second.max(1));
            }
        }
    }

    /// What happens to the reply of this command. The oldest fault that still counts wins.
    pub(super) fn take(&mut self, command: &[u8]) -> Option<Damage> {
        let matches = |of: &[u8]| of.is_empty() || command.windows(of.len()).any(|part| part == of);
        let fault = self.replies.iter_mut().find(|fault| fault.left > 0 && matches(&fault.of))?;
        fault.left -= 1;
        Some(fault.damage)
    }

    pub(super) fn way(&self, way: Way) -> OneWay {
        match way {
            Way::ToClient => self.to_client,
            Way::ToServer => self.to_server,
        }
    }

    fn way_mut(&mut self, way: Way) -> &mut OneWay {
        match way {
            Way::ToClient => &mut self.to_client,
            Way::ToServer => &mut self.to_server,
        }
    }
}

impl OneWay {
    /// How much later a piece arrives, by the numbers of its connection and of itself.
    pub(super) fn delay(&self, connection: u64, piece: u64) -> Duration {
        let Some((by, jitter, seed)) = self.delay else { return Duration::ZERO };
        let random = mix(mix(mix(seed).wrapping_add(connection)).wrapping_add(piece));
        by + jitter.mul_f64(random as f64 / u64::MAX as f64)
    }
}

/// SplitMix64: the output for a state.
fn mix(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
