//! What one process at a time does for its node: it delivers messages, signs and archives the audit, passes it on, and looks in it
//! for what operators are to be alerted of.
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

use super::{House, JoinSet, System, store};
use crate::alert::Watcher;
use crate::delivery::{Post, Worker};
use crate::ledger::Ledger;
use crate::sink::Sinks;

/// What is done, until it is dropped.
#[derive(Debug)]
pub(super) struct Duties {
    /// Cancelled to end the delivery of messages; `None`: another process delivers.
    delivery: Option<(DropGuard, JoinHandle<()>)>,
    keeping: JoinSet<()>,
    post: Post,
    system: System,
    ledger: Ledger,
    sinks: Sinks,
}

impl Duties {
    /// Begins, now that no other process of this node does it.
    ///
    /// # Errors
    /// Where no checkpoint can be written. It is begun all the same.
    pub(super) async fn begin(
        worker: Worker,
        ledger: Ledger,
        sinks: Sinks,
        system: &System,
    ) -> (Self, Result<(), store::Error>) {
        sinks.begin();
        let signed = ledger.checkpoint().await.map(|_| ());
        let mut keeping = JoinSet::new();
        keeping.spawn(ledger.clone().run());
        let stop = CancellationToken::new();
        let post = worker.post().clone();
        keeping.spawn(Watcher::new(post.clone(), system.clone()).run(stop.clone()));
        let delivering = tokio::spawn(worker.run(stop.clone()));
        let delivery = Some((stop.drop_guard(), delivering));
        (Self { delivery, keeping, post, system: system.clone(), ledger, sinks }, signed)
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

    /// Tells the other nodes that this one stops, and is not to be taken for down.
    async fn say_goodbye(&self) {
        let node = self.post.names().node.to_string();
        if let Err(error) = self.post.store().worker_stops(node, self.system.now()).await {
            tracing::error!(%error, "other nodes may take this one for down");
        }
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
            duties.say_goodbye().await;
        }
        duties.sinks.stop().await;
    }
}
