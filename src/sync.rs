//! What the state machines shared by tasks are made of: the standard library's here. `tests/model` compiles the same
//! files over that of a model checker.

pub(crate) use crate::clock::Moment;
pub(crate) use std::sync::{
    Mutex, MutexGuard, RwLock,
    atomic::{AtomicU64, Ordering},
};
