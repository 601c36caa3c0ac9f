//! How a cache begins and ends, where others take part in it.

use super::{Cache, Shutdown, log::Log};
use crate::{clock::Moment, timer};
use std::time::Duration;

impl Cache {
    /// Waits until the shared log has been read to its end and the stores can be asked; nothing to wait for without any. False if
    /// that takes longer than the deadline: the cache works all the same, and takes nothing from the stores until then.
    ///
    /// Make the layers first. How a policy chooses query parameters says under which names a resource is invalidated: what was
    /// stored before a record that was read without knowing that is not used.
    ///
    /// ```
    /// # use larder::Cache;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let cache = Cache::in_memory(1 << 20);
    /// assert!(cache.ready(Duration::from_secs(5)).await);
    /// # }
    /// ```
    pub async fn ready(&self, deadline: Duration) -> bool {
        self.keep_listening();
        self.keep_in_touch();
        let ready = async {
            if let Log::Shared(log) = &self.0.log {
                log.caught_up().await;
            }
            self.0.tiers.available().await;
        };
        timer::within(deadline, ready).await.is_some()
    }

    /// Ends what runs in the background: fills whose clients have gone, and refreshes. None is started from now on; those
    /// under way have until the deadline, then they are broken off. Then what waits to be written to stores and to a shared log is
    /// written, and so is the [history](Cache::history), until the deadline too, or for a second if less is left. A shared log is
    /// not read any more. Requests are answered as before.
    ///
    /// ```
    /// # use larder::Cache;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let cache = Cache::in_memory(1 << 20);
    /// let ended = cache.shutdown(Duration::from_secs(5)).await;
    /// assert_eq!(ended.aborted, 0);
    /// # }
    /// ```
    pub async fn shutdown(&self, deadline: Duration) -> Shutdown {
        let since = Moment::now();
        let ended = self.0.background.shut_down(deadline).await;
        // What is stored and invalidated last is to be known to the others.
        let until = deadline.max(since.elapsed().saturating_add(LAST_WORD));
        let left = || until.saturating_sub(since.elapsed());
        if let Log::Shared(log) = &self.0.log {
            timer::within(left() / 2, log.drained()).await;
        }
        self.0.tiers.writer.flushed(left() / 2).await;
        self.keep_past(left()).await;
        self.0.background.fall_silent();
        ended
    }
}

/// At least so long a cache that shuts down tells others of what it has done.
const LAST_WORD: Duration = Duration::from_secs(1);
