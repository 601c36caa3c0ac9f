//! Asking whoever sits there.

use crate::{fault::Fault, out::Out};
use std::io::{self, BufRead, IsTerminal, Write};

/// Whether the answer is yes.
pub(crate) fn confirm(out: &Out, question: &str, without: &str) -> Result<(), Fault> {
    let answer = ask(out, &format!("{question} [y/N] "), without)?;
    match answer.to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Fault::failed("nothing was done: the answer was not `y`")),
    }
}

/// Whether the answer is this name.
pub(crate) fn type_name(out: &Out, question: &str, name: &str, without: &str) -> Result<(), Fault> {
    match ask(out, &format!("{question}: "), without)? == name {
        true => Ok(()),
        false => Err(Fault::failed(format!("nothing was done: the answer was not `{name}`"))),
    }
}

/// Asks, if there is anybody to be asked.
fn ask(out: &Out, question: &str, without: &str) -> Result<String, Fault> {
    let (input, mut error) = (io::stdin(), io::stderr());
    if !input.is_terminal() || !error.is_terminal() {
        return Err(Fault::failed(format!(
            "{without} asks first, and this is no terminal: give --force if it is meant"
        )));
    }
    let mut answer = String::new();
    let asked = write!(error, "{}", out.look(crate::out::Look::Doubtful, &crate::table::clean(question)));
    let read = asked.and_then(|()| error.flush()).and_then(|()| input.lock().read_line(&mut answer));
    read.map_err(|error| Fault::failed(format!("the answer cannot be read: {error}")))?;
    Ok(answer.trim().to_owned())
}
