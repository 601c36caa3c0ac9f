//! A process that does not outlive the test.

use std::{
    fs::File,
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

/// A running server, killed on drop.
#[derive(Debug)]
pub(crate) struct Process {
    server: Child,
    /// A shell that waits for the end of its input. When this process dies, however it dies, the input ends, and the
    /// shell kills the server and removes its directory.
    keeper: Child,
}

impl Process {
    /// Starts it. What it prints goes to the file.
    pub(crate) fn start(command: &mut Command, log: &Path, directory: &Path) -> io::Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let mut server = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // An interrupt from the terminal is for the test.
            .process_group(0)
            .spawn()?;
        let keeper = Command::new("sh")
            .args(["-c", "read -r _; kill -KILL \"$1\"; rm -rf \"$2\"", "keeper"])
            .arg(server.id().to_string())
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match keeper {
            Ok(keeper) => Ok(Self { server, keeper }),
            Err(error) => {
                end(&mut server);
                Err(error)
            }
        }
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.server.try_wait().unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.server.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The keeper first: the number of a dead server may soon be another process's.
        end(&mut self.keeper);
        end(&mut self.server);
    }
}

/// Kills it, and waits until it is gone. It may be stopped, or dead already.
fn end(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}
