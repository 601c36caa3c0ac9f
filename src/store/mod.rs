//! Where responses are kept. Today that is the memory tier; stores behind it have their room here.

mod memory;

pub(crate) use memory::{Found, Memory, Sizes};
