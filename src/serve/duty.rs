//! What one process at a time does for its node: it delivers messages, signs and archives the audit, and passes it on.
//!
//! ```text
//!   first process   begin ─────────────────────▶ hand over ─┬─ its sessions live on ─────▶ stop
//!                                                           └ "released"
//!   the next one            accepts already ─────────────────────▶ begin ───────────────▶ hand over, or stop
//! ```
//!
//! Invariant: two processes of a node never do it at once, so that neither takes what the other has in hand for lost. What the
//! sessions of a process that was taken over from still send lies in the store, where its successor finds it.

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{House, JoinSet, store};
use crate::delivery::Worker;
use crate::ledger::Ledger;
use crate::sink::Sinks;

/// What is done, until it is dropped.
#[derive(Debug)]
pub(super) struct Duties {
    /// Cancelled to end the delivery of messages; `None`: another process delivers.
    delivery: Option<(DropGuard, JoinHandle<()>)>,
    keeping: JoinSet<()>,
    ledger: Ledger,
    sinks: Sinks,
}

impl Duties {
    /// Begins, now that no other process of this node does it.
    ///
    /// # Errors
    /// Where no checkpoint can be written. It is begun all the same.
    pub(super) async fn begin(worker: Worker, ledger: Ledger, sinks: Sinks) -> (Self, Result<(), store::Error>) {
        sinks.begin();
        let signed = ledger.checkpoint().await.map(|_| ());
        let mut keeping = JoinSet::new();
        keeping.spawn(ledger.clone().run());
        let stop = CancellationToken::new();
        let delivering = tokio::spawn(worker.run(stop.clone()));
        (Self { delivery: Some((stop.drop_guard(), delivering)), keeping, ledger, sinks }, signed)
    }

    /// Delivers no more: what is in hand is handed over, or given up. Keeps the audit no more.
    async fn rest(&mut self) {
        if let Some((stop, delivering)) = self.delivery.take() {
            drop(stop);
            if let Err(error) = delivering.await {
                tracing::error!(%error, "the delivery worker ended with a fault");
            }
        }
        self.keeping.shutdown().await;
    }

    async fn sign(&self) {
        if let Err(error) = self.ledger.checkpoint().await {
            tracing::error!(%error, "no checkpoint could be written");
        }
    }
}

impl House {
    /// Leaves it to another process of this node. The sinks that are required are still asked about.
    pub(super) async fn hand_duties_over(&self) {
        if let Some(duties) = &mut *self.duties.lock().await {
            duties.rest().await;
            duties.sign().await;
            duties.sinks.hand_over().await;
        }
    }

    /// Ends the delivery of messages, at the end of this process.
    pub(super) async fn end_delivery(&self) {
        if let Some(duties) = &mut *self.duties.lock().await {
            duties.rest().await;
        }
    }

    /// Signs and passes on what is left, at the end of this process.
    pub(super) async fn end_duties(&self) {
        let Some(duties) = self.duties.lock().await.take() else { return };
        if !duties.sinks.are_handed_over() {
            duties.sign().await;
        }
        duties.sinks.stop().await;
    }
}
