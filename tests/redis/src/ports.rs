//! Ports for servers that cannot choose one themselves, or have to come back on the same one.

use std::{
    env,
    fs::{self, File},
    net::TcpListener,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// A port that belongs to this value while it lives, also while nothing listens on it.
///
/// It is below those that the system gives to outgoing connections and to listeners on port 0, and a locked file keeps
/// the tests of other processes away from it. A program that knows nothing of the lock can still take it: whoever binds
/// to it has to be ready for that.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    path: PathBuf,
    /// The lock: the system gives it up with the file, also when the process is killed.
    _locked: File,
}

impl Port {
    pub(crate) fn reserve() -> Self {
        (0..RANGE).find_map(|_| Self::next()).expect("no port is free")
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    fn next() -> Option<Self> {
        // Processes begin at different places, and a port is not used again soon: a client of the test before may still
        // be trying to reach it.
        let number = process::id().wrapping_mul(STRIDE).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let number = u16::try_from(FIRST + number % RANGE).expect("the range ends below 65536");
        let path = env::temp_dir().join(format!("larder-port-{number}"));
        let locked = lock(&path)?;
        let port = Self { number, path, _locked: locked };
        TcpListener::bind(("127.0.0.1", number)).is_ok().then_some(port)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // Before the lock goes: otherwise the file could be another's by now.
        drop(fs::remove_file(&self.path));
    }
}

/// Nothing, if another has it.
fn lock(path: &Path) -> Option<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path).ok()?;
    file.try_lock().ok()?;
    // The owner before may have removed the file between the opening and the locking.
    let same = fs::metadata(path).ok()?.ino() == file.metadata().ok()?.ino();
    same.then_some(file)
}

const FIRST: u32 = 10_000;
const RANGE: u32 = 20_000;
const STRIDE: u32 = 61;

static NEXT: AtomicU32 = AtomicU32::new(0);
