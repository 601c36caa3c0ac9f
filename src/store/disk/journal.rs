//! The invalidation log of a namespace, in a folder.

use super::{database::Fault, engine::Engine, link::Link};
use crate::{
    invalidation::{Epoch, RecordId},
    store::{Draft, Journal, NodeId, Reading, StoreError, StoreFuture},
    timer,
};
use std::{sync::Arc, time::Duration};
use tokio::task::spawn_blocking;

/// The log of a namespace.
#[derive(Debug)]
pub(super) struct DiskJournal {
    link: Arc<Link>,
    namespace: Arc<str>,
}

impl DiskJournal {
    pub(super) fn new(link: Arc<Link>, namespace: &str) -> Self {
        Self { link, namespace: namespace.into() }
    }

    /// Does something with the log. What has begun is done to its end.
    async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Engine, &str, u64) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let engine = self.link.opened().await.map_err(|refused| refused.kind)?;
        let (namespace, now) = (Arc::clone(&self.namespace), self.link.now());
        let done = spawn_blocking(move || {
            act(&engine, &namespace, now).inspect_err(|error| {
                tracing::debug!(target: "larder::invalidate", %error, "the log on disk failed");
            })
        });
        done.await.map_err(|_| StoreError::Io)?.map_err(|fault| StoreError::from(&fault))
    }

    async fn receive(&self, after: Option<RecordId>, wait: Duration) -> Result<Reading, StoreError> {
        // Whatever is appended from here on is noticed.
        let found = self.with(move |engine, namespace, now| {
            let grown = engine.growing(namespace, now)?;
            Ok((grown, engine.read(namespace, after, now)?))
        });
        let (mut grown, reading) = found.await?;
        if !reading.lines.is_empty() || wait.is_zero() || timer::within(wait, grown.changed()).await.is_none() {
            return Ok(reading);
        }
        self.with(move |engine, namespace, now| engine.read(namespace, after, now)).await
    }
}

impl Journal for DiskJournal {
    fn append<'a>(&'a self, node: NodeId, drafts: &'a [Draft]) -> StoreFuture<'a, Vec<RecordId>> {
        let drafts = drafts.to_vec();
        StoreFuture::boxed(self.with(move |engine, namespace, now| engine.append(namespace, node, &drafts, now)))
    }

    fn read(&self, after: Option<RecordId>, wait: Duration) -> StoreFuture<'_, Reading> {
        StoreFuture::boxed(self.receive(after, wait))
    }

    fn renew(&self, lost: Epoch) -> StoreFuture<'_, ()> {
        StoreFuture::boxed(self.with(move |engine, namespace, now| engine.renew(namespace, lost, now)))
    }
}
