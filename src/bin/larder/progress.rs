//! How far something is, on a terminal.

use crate::out::Out;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};

/// A bar that goes away at the end. Nothing where it would only be in the way.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(out: &Out) -> Self {
        let shown = io::stderr().is_terminal() && !out.json && !out.is_verbose();
        let bar = match shown {
            true => ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()),
            false => ProgressBar::hidden(),
        };
        // A wrong template would leave the usual style.
        if let Ok(style) = ProgressStyle::with_template("{msg:20!} {wide_bar} {pos}/{len}  {eta}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    pub(crate) fn show(&self, done: u64, of: u64, what: &str) {
        self.0.set_length(of);
        self.0.set_message(crate::table::clean(what));
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
