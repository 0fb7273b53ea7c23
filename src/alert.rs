//! The watcher: looks every two seconds whether something happened that operators are to know, and has it told.
//!
//! ```text
//!   audit, rules, nodes (the store) ──look──▶ raised: entry ─▶ sinks      mails ─▶ outbox
//! ```
//!
//! Invariants: it holds nothing that its end would lose, for how far it has looked stands in the store; it keeps no sign-on waiting, for
//! nobody waits for it. An alert that cannot be mailed stands in the audit all the same, and the log warns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use policy::AlertKind;
use tokio_util::sync::CancellationToken;

use crate::audit::alert::{About, Raised};
use crate::delivery::Post;
use crate::metrics;
use crate::store::{self, Looked, Parcel, Stationery};
use crate::system::System;

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Looks at the audit of one store, for one node.
#[derive(Debug)]
pub struct Watcher {
    post: Post,
    system: System,
    /// The last entry that told nothing.
    seen: i64,
}

impl Watcher {
    /// A watcher whose mails are written by `post`.
    #[must_use]
    pub const fn new(post: Post, system: System) -> Self {
        Self { post, system, seen: 0 }
    }

    /// Looks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wait = match self.look().await {
                Ok(true) => Duration::ZERO,
                Ok(false) => LOOK_EVERY,
                Err(error) => {
                    tracing::error!(%error, "it could not be looked whether there is something to alert of");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Looks once; whether there is more to look at.
    ///
    /// # Errors
    /// Where the store does not answer; nothing was raised then.
    pub async fn look(&mut self) -> Result<bool, store::Error> {
        // It waits for the disk together with others: nobody waits for it.
        let store = self.post.store().patient();
        let (node, now) = (self.post.names().node.to_string(), self.system.now());
        let news = store.alert_news(node.clone(), self.seen, now).await?;
        if !news.is_any {
            self.seen = news.through;
            return Ok(news.is_more);
        }
        let is_written = Arc::new(AtomicBool::new(true));
        let looked =
            store.raise_alerts(node, now, news.lowered, writer(self.post.clone(), Arc::clone(&is_written))).await?;
        self.tell(&looked, is_written.load(Ordering::Relaxed));
        Ok(looked.is_more)
    }

    fn tell(&self, looked: &Looked, is_written: bool) {
        let Looked { raised, mails, is_stopped, .. } = looked;
        for alert in raised {
            metrics::alerted(alert.kind);
            tracing::warn!(kind = alert.kind.as_str(), alert = alert.headline(), "alert");
        }
        if raised.is_empty() {
            return;
        }
        if !is_written {
            tracing::error!("mails about alerts could not be written; the alerts stand in the audit");
        } else if !self.post.has_operators() {
            tracing::warn!("nobody is mailed about alerts: there is no address in [alerts] email");
        } else if *is_stopped {
            tracing::warn!(mails, "mails about alerts wait, since sending is stopped");
        }
        self.post.wake();
    }
}

/// What writes the mails of alerts. Where that fails, `is_written` tells: an alert without a mail is better than none.
fn writer(post: Post, is_written: Arc<AtomicBool>) -> impl FnMut(&Stationery, &Raised) -> Vec<Parcel> + Send + 'static {
    move |stationery, raised| {
        post.alert(stationery, raised).unwrap_or_else(|error| {
            tracing::error!(%error, "a mail about an alert could not be written");
            is_written.store(false, Ordering::Relaxed);
            Vec::new()
        })
    }
}

/// Raises a test alert, as `by` wants it: the number of its entry, and those of its mails.
///
/// # Errors
/// Where the store does not answer, or the mails cannot be written.
pub async fn test(post: &Post, system: &System, by: &str) -> Result<(i64, Vec<String>), store::Error> {
    let raised = Raised {
        kind: AlertKind::Test,
        key: Some("test".to_owned()),
        what: format!("so that an operator sees whether alerts arrive; by {by}"),
        at: system.now(),
        times: 1,
        before: None,
        about: About::default(),
    };
    let writer = writer(post.clone(), Arc::default());
    let raised = post.store().raise_test(raised, post.names().node.to_string(), writer).await?;
    metrics::alerted(AlertKind::Test);
    post.wake();
    Ok(raised)
}

#[cfg(test)]
mod tests;
