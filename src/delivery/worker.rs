//! The worker: claims messages from the outbox, hands them over, and tells what became of them.
//!
//! Invariants: nothing is handed over before its claim is on the disk; a claim is handed over once. What was in the hands of
//! a worker that is gone is never sent again: it becomes 'unknown', is audited, and operators are told.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Fault, Post, place};
use crate::audit::alert::MESSAGES_LOST;
use crate::audit::{Entry, Event, Outcome};
use crate::metrics;
use crate::notify::{Couriers, Letter, Said};
use crate::store::{self, Claimed, Kind, Settlement, Turn, Word};

/// How many messages are handed over at a time.
const AT_ONCE: usize = 16;
/// How often the outbox is looked at where nobody calls.
const POLL: Duration = Duration::from_millis(500);
/// How often a worker says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How much longer than handing over may take a claim holds.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
/// How long the worker waits for what is under way when it stops.
const GRACE: Duration = Duration::from_secs(5);
/// How often telling the store what became of a message is tried.
const SETTLE_TRIES: u32 = 4;
/// The longest pause between two tries, in seconds.
const PAUSE_MAX: i64 = 64;

/// Delivers what is in the outbox. Clones share the relays' connections.
#[derive(Debug, Clone)]
pub struct Worker {
    post: Post,
    couriers: Couriers,
}

impl Worker {
    /// A worker for the outbox of `post`.
    #[must_use]
    pub const fn new(post: Post, couriers: Couriers) -> Self {
        Self { post, couriers }
    }

    /// What it delivers for.
    #[must_use]
    pub const fn post(&self) -> &Post {
        &self.post
    }

    /// Delivers until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let inner = &*self.post.0;
        let run = loop {
            match inner.system.id() {
                Ok(run) => break run,
                Err(error) => {
                    tracing::error!(%error, "the delivery worker cannot start");
                    tokio::time::sleep(POLL).await;
                }
            }
        };
        let started = inner.system.now();
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut under_way = JoinSet::new();
        let mut restarted = Some(run.clone());
        let mut beat = None;
        loop {
            let now = inner.system.instant();
            if beat.is_none_or(|last| now.saturating_duration_since(last) >= HEARTBEAT) {
                match inner.store.worker_seen(inner.names.node.to_string(), started, inner.system.now()).await {
                    Ok(()) => beat = Some(now),
                    Err(error) => tracing::warn!(%error, "the delivery worker cannot say that it is there"),
                }
            }
            match self.round(&run, &mut restarted, &places, &mut under_way).await {
                // More may be there than there was room for.
                Ok(true) => {
                    while under_way.try_join_next().is_some() {}
                    tokio::task::yield_now().await;
                    if places.available_permits() > 0 && !stop.is_cancelled() {
                        continue;
                    }
                }
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "the outbox cannot be read; nothing is sent"),
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
                () = inner.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
        let ended = tokio::time::timeout(GRACE, async { while under_way.join_next().await.is_some() {} });
        if ended.await.is_err() {
            tracing::warn!(
                messages = under_way.len(),
                "messages are still being handed over; what becomes of them is not known"
            );
        }
    }

    /// One look at the outbox; whether something was claimed.
    async fn round(
        &self,
        run: &str,
        restarted: &mut Option<String>,
        places: &Arc<Semaphore>,
        under_way: &mut JoinSet<()>,
    ) -> Result<bool, store::Error> {
        let inner = &*self.post.0;
        let now = inner.system.now();
        if restarted.is_none() && !inner.store.is_due(now).await? {
            return Ok(false);
        }
        let lost = inner.store.reap(inner.names.node.to_string(), restarted.clone(), now).await?;
        *restarted = None;
        inner.settled.notify_waiters();
        if !lost.is_empty() {
            self.lost(&lost).await;
        }
        let room = places.available_permits();
        if room == 0 {
            return Ok(false);
        }
        let claimed = self.claim(run, None, room).await?;
        let any = !claimed.is_empty();
        for message in claimed {
            let Ok(place) = Arc::clone(places).try_acquire_owned() else { break };
            let worker = self.clone();
            under_way.spawn(async move {
                worker.hand_over(message).await;
                drop(place);
            });
        }
        Ok(any)
    }

    /// Hands over message `id` only, in the caller's own time; where nobody else has it in hand.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn deliver(&self, id: &str) -> Result<(), Fault> {
        let run = self.post.0.system.id()?;
        for message in self.claim(&run, Some(id.to_owned()), 1).await? {
            self.hand_over(message).await;
        }
        Ok(())
    }

    async fn claim(&self, run: &str, only: Option<String>, limit: usize) -> Result<Vec<Claimed>, store::Error> {
        let inner = &*self.post.0;
        let now = inner.system.now();
        let lease = self.couriers.patience() + LEASE_MARGIN;
        let lease = SignedDuration::try_from(lease).unwrap_or(SignedDuration::from_mins(5));
        let until = now.checked_add(lease).unwrap_or(now);
        let claim = (inner.names.node.to_string(), format!("{run}.{}", inner.system.id().unwrap_or_default()));
        inner.store.claim(claim, only, now, until, limit).await
    }

    async fn hand_over(&self, message: Claimed) {
        let inner = &*self.post.0;
        let letter =
            inner.sealer.open(&place(&message.id), &message.sealed).ok().and_then(|bytes| Letter::from_bytes(&bytes));
        let Some(letter) = letter else {
            tracing::error!(
                message = message.kind.as_str(),
                "a message cannot be opened with this key; it is not sent"
            );
            let word = Word { provider: "outbox".to_owned(), failure: Some("outbox-key"), is_its_own: true };
            return self.settle(&message, Settlement::Failed, vec![word], "it cannot be opened").await;
        };
        let patience = self.couriers.patience() + LEASE_MARGIN / 2;
        let said = tokio::time::timeout(patience, self.couriers.deliver(&letter)).await.unwrap_or_default();
        let now = inner.system.now();
        let settlement = settlement(&said, &message, now);
        let detail = said
            .iter()
            .filter_map(|said| said.result.as_ref().err().map(|failure| format!("{}: {failure}", said.provider)))
            .collect::<Vec<_>>()
            .join("; ");
        if !detail.is_empty() {
            tracing::warn!(message = message.kind.as_str(), try_number = message.tries, %detail, "a message was not taken");
        }
        if message.kind == Kind::Passcode {
            said.iter().for_each(|said| metrics::sent(&said.provider, said.result.is_ok(), said.time));
        }
        let words = said
            .into_iter()
            .map(|Said { provider, result, .. }| {
                let failure = result.err();
                let is_its_own = failure.as_ref().is_some_and(crate::notify::Failure::is_its_own);
                Word { provider, failure: failure.map(|failure| failure.code()), is_its_own }
            })
            .collect();
        self.settle(&message, settlement, words, &detail).await;
    }

    async fn settle(&self, message: &Claimed, settlement: Settlement, words: Vec<Word>, detail: &str) {
        let inner = &*self.post.0;
        let entry = self.entry(message, &settlement, &words, detail);
        for count in 1..=SETTLE_TRIES {
            let (words, entry, settlement) = (words.clone(), entry.clone(), settlement.clone());
            let (node, now) = (inner.names.node.to_string(), inner.system.now());
            match inner.store.settle(message, settlement, words, node, now, entry).await {
                Ok(turns) => {
                    inner.settled.notify_waiters();
                    for turn in turns {
                        self.turned(turn).await;
                    }
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, count, "what became of a message could not be recorded");
                    tokio::time::sleep(POLL * count).await;
                }
            }
        }
    }

    /// The entry of what nobody waits for; of passcodes the guard tells.
    fn entry(&self, message: &Claimed, settlement: &Settlement, words: &[Word], detail: &str) -> Option<Entry> {
        if message.kind == Kind::Passcode {
            return None;
        }
        let (outcome, reason) = match settlement {
            Settlement::Sent => (Outcome::Noted, "delivery-sent"),
            Settlement::Retry(_) => return None,
            Settlement::Failed => {
                (Outcome::Failed, words.last().and_then(|word| word.failure).unwrap_or("delivery-failed"))
            }
            Settlement::Unknown => (Outcome::Failed, "delivery-unknown"),
        };
        let inner = &*self.post.0;
        let user = message.user.parse().ok();
        let what = format!("{} to {}", message.kind.as_str(), message.destination);
        let detail = if detail.is_empty() { what } else { format!("{what}; {detail}") };
        let entry = Entry::new(inner.system.now(), &inner.names.node, Event::Delivery, outcome);
        Some(entry.reason(reason).user(user.as_ref()).detail(&detail))
    }

    /// A provider came to fail, or to work again. Operators are alerted of what stands in the audit.
    async fn turned(&self, Turn { provider, down, code }: Turn) {
        let inner = &*self.post.0;
        let (outcome, reason) = if down {
            tracing::error!(%provider, %code, "a provider is down");
            (Outcome::Failed, "provider-down")
        } else {
            tracing::info!(%provider, "a provider works again");
            (Outcome::Noted, "provider-up")
        };
        let detail = if down { format!("{provider}: {code}") } else { provider.clone() };
        let entry = Entry::new(inner.system.now(), &inner.names.node, Event::Provider, outcome);
        if let Err(error) = inner.store.append(entry.reason(reason).detail(&detail)).await {
            tracing::error!(%error, "the turn of a provider was not written to the audit");
        }
    }

    /// Messages whose worker is gone.
    async fn lost(&self, lost: &[Claimed]) {
        let list: Vec<_> =
            lost.iter().map(|message| format!("{} to {}", message.kind.as_str(), message.destination)).collect();
        tracing::error!(
            messages = list.len(),
            "messages were under way when their worker ended; they are not sent again"
        );
        // An alarm about a lost alarm could go on for ever.
        if lost.iter().any(|message| !matches!(message.kind, Kind::Operator | Kind::OperatorAlert)) {
            let inner = &self.post.0;
            let entry = Entry::new(inner.system.now(), &inner.names.node, Event::Delivery, Outcome::Failed);
            let what = format!("{} of which it is not known whether they arrived: {}", list.len(), list.join(", "));
            if let Err(error) = inner.store.append(entry.reason(MESSAGES_LOST).detail(&what)).await {
                tracing::error!(%error, "operators were not told of lost messages");
            }
        }
    }
}

/// What comes of what the providers said.
fn settlement(said: &[Said], message: &Claimed, now: Timestamp) -> Settlement {
    match said.last() {
        // It took longer than it may.
        None => Settlement::Unknown,
        Some(Said { result: Ok(()), .. }) => Settlement::Sent,
        Some(Said { result: Err(failure), .. }) if !failure.is_certain() => Settlement::Unknown,
        Some(_) => {
            let may_pass = said.iter().any(|said| said.result.as_ref().is_err_and(crate::notify::Failure::may_pass));
            let pause = 1_i64.checked_shl(message.tries.saturating_sub(1)).unwrap_or(PAUSE_MAX).clamp(1, PAUSE_MAX);
            let next = now.checked_add(SignedDuration::from_secs(pause)).ok();
            match next.filter(|next| may_pass && *next < message.expires_at) {
                Some(next) => Settlement::Retry(next),
                None => Settlement::Failed,
            }
        }
    }
}
