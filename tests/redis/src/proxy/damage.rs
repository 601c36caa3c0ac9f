//! Finds the replies that are to be damaged, and damages them.

use super::{Shared, fault::Damage, frames::Frames};
use crate::Close;
use std::{
    collections::VecDeque,
    mem,
    sync::{Mutex, atomic::Ordering},
};

/// What happens to the replies that have not come yet, in the order of their commands.
pub(super) type Awaited = Mutex<VecDeque<Option<Damage>>>;

/// The commands of a connection.
#[derive(Debug, Default)]
pub(super) struct Commands {
    frames: Frames,
    /// The beginning of the current one.
    start: Vec<u8>,
}

impl Commands {
    /// Decides what happens to the replies of those that end here.
    pub(super) fn pass(&mut self, mut bytes: &[u8], shared: &Shared, awaited: &Awaited) {
        while !bytes.is_empty() {
            let (taken, ends) = self.frames.next(bytes);
            let room = START.saturating_sub(self.start.len()).min(taken);
            self.start.extend_from_slice(&bytes[..room]);
            bytes = &bytes[taken..];
            if !ends {
                continue;
            }
            let command = mem::take(&mut self.start);
            // In RESP3 these are answered by pushes, which belong to no command.
            if !command.windows(SUBSCRIBE.len()).take(NAME).any(|part| part.eq_ignore_ascii_case(SUBSCRIBE)) {
                let damage = shared.take(&command);
                awaited.lock().unwrap().push_back(damage);
            }
        }
    }
}

/// The replies of a connection.
#[derive(Debug, Default)]
pub(super) struct Replies {
    frames: Frames,
    /// What happens to the current one.
    damage: Option<Damage>,
    /// How much of it has come.
    offset: usize,
    /// What has come of one that is to come twice.
    copy: Vec<u8>,
}

/// What becomes of a piece of the replies.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Passed {
    /// What is left is delivered.
    All,
    /// What is left is delivered, then the connection is closed.
    Closed(Close),
    /// What is left is delivered, then nothing more.
    Silenced,
}

impl Replies {
    /// Damages what is to be damaged.
    pub(super) fn pass(
        &mut self,
        mut bytes: &[u8],
        passed: &mut Vec<u8>,
        shared: &Shared,
        awaited: &Awaited,
    ) -> Passed {
        let damaged = || shared.damaged.fetch_add(1, Ordering::SeqCst);
        while let Some(first) = bytes.first() {
            if self.offset == 0 {
                let is_push = *first == b'>';
                self.damage = if is_push { None } else { awaited.lock().unwrap().pop_front().flatten() };
            }
            let (taken, ends) = self.frames.next(bytes);
            let (part, rest) = bytes.split_at(taken);
            match self.damage {
                None => passed.extend_from_slice(part),
                Some(Damage::Cut { after, how }) => {
                    if self.offset + taken > after {
                        passed.extend_from_slice(&part[..after - self.offset]);
                        damaged();
                        return Passed::Closed(how);
                    }
                    passed.extend_from_slice(part);
                }
                Some(Damage::Drop) => {
                    if ends {
                        damaged();
                    }
                }
                Some(Damage::Duplicate) => {
                    passed.extend_from_slice(part);
                    self.copy.extend_from_slice(part);
                    if ends {
                        passed.append(&mut self.copy);
                        damaged();
                    }
                }
                Some(Damage::Flip { at }) => {
                    let start = passed.len();
                    passed.extend_from_slice(part);
                    if (self.offset..self.offset + taken).contains(&at) {
                        passed[start + at - self.offset] ^= 1;
                        damaged();
                    }
                }
                Some(Damage::Silence) => {
                    damaged();
                    return Passed::Silenced;
                }
            }
            self.offset = if ends { 0 } else { self.offset + taken };
            bytes = rest;
        }
        Passed::All
    }
}

/// How much of a command is compared.
const START: usize = 4096;

/// Within these bytes is the name of a command.
const NAME: usize = 16;
const SUBSCRIBE: &[u8] = b"SUBSCRIBE\r\n";
