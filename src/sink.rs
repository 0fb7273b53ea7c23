//! Passes the audit on: to files, to syslog receivers and to webhooks, each at its own pace.
//!
//! ```text
//!   audit (the store) ──▶ worker of a sink ──▶ file, syslog over TCP or TLS, HTTP requests
//!            ▲                    │
//!            └──── cursor ◀───────┘ how far it has come, kept in the store
//! ```
//!
//! Invariants: the audit is every sink's queue, so what waits survives outages and restarts, and no sink takes memory for it. A sink
//! that is slow or gone keeps nobody waiting and no other sink. Everything is passed on at least once: the cursor moves when a
//! file is on its disk, a webhook has answered, or a receiver's connection held for a while after it was sent; after a break what was sent since is sent
//! again. Each entry carries its id and its number in the chain, by which a receiver can tell. Whether a required sink is behind
//! is told to [witnesses](crate::audit::witness), which strict mode asks.

mod file;
mod syslog;
mod webhook;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::format::{json, line, syslog as message};
use crate::audit::level::passes;
use crate::audit::witness::{Testimony, Witnesses};
use crate::audit::{Entry, Event, Outcome};
use crate::config::{OpenSink, Sink, Target};
use crate::store::{self, Backlog, Store};
use crate::system::System;

/// How many entries are passed on at a time.
const BATCH: usize = 500;
/// How many to a webhook that gets more than alerts: it answers each.
const WEBHOOK_BATCH: usize = 20;
/// How often is looked for new entries.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The first and the longest pause after a sink failed.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A sink that goes up and down is told of once in this time.
const TELL_EVERY: Duration = Duration::from_secs(600);
/// How long a sink may take for what is left when the gateway stops.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why a sink did not take entries.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("TLS: {0}")]
    Tls(#[from] crate::tls::HandshakeError),
    #[error("it does not answer, or takes nothing, within {} s", .0.as_secs())]
    Slow(Duration),
    #[error("it closed the connection")]
    Closed,
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("{0}")]
    Http(String),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The sinks that run. Dropped, they stop at once; nothing is lost by that.
#[derive(Debug)]
pub struct Sinks {
    workers: JoinSet<Worker>,
    /// Those that only watch, since another process passes on.
    watchers: JoinSet<()>,
    begin: CancellationToken,
    stop: CancellationToken,
}

impl Sinks {
    /// Makes a worker for each of `sinks`; `open` is theirs, one for one. Those that are required are the witnesses: they tell
    /// how far the sink is, by whichever process, before this one has begun.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn plan(
        store: &Store,
        node: &Arc<str>,
        system: &System,
        sinks: &[Sink],
        open: Vec<OpenSink>,
    ) -> Result<(Self, Witnesses), store::Error> {
        let required = sinks.iter().filter_map(|sink| Some((sink.name.to_string(), sink.required?)));
        let (witnesses, testimonies) = Witnesses::new(required);
        let mut testimonies = testimonies.into_iter();
        let mut workers = JoinSet::new();
        let (begin, stop) = (CancellationToken::new(), CancellationToken::new());
        for (sink, open) in sinks.iter().zip(open.into_iter().chain(std::iter::repeat_with(OpenSink::default))) {
            let taken = store.open_sink(sink.name.to_string()).await?;
            let outlet = match &sink.target {
                Target::File(path) => Outlet::File(file::Outlet::new(path.clone())),
                Target::Syslog { address, .. } => {
                    Outlet::Syslog(Box::new(syslog::Outlet::new(address.clone(), open.tls, system.clone())))
                }
                Target::Webhook { url, .. } => {
                    Outlet::Webhook(Box::new(webhook::Outlet::new(url.clone(), open, system.clone())))
                }
            };
            let worker = Worker {
                sink: sink.clone(),
                store: store.clone(),
                node: Arc::clone(node),
                system: system.clone(),
                outlet,
                testimony: sink.required.and_then(|_| testimonies.next()),
                taken,
                sent: taken,
                unreadable: Vec::new(),
                outage: Outage::default(),
            };
            workers.spawn(worker.run(begin.clone(), stop.clone()));
        }
        Ok((Self { workers, watchers: JoinSet::new(), begin, stop }, witnesses))
    }

    /// Begins to pass on, now that no other process of this node does.
    pub fn begin(&self) {
        self.begin.cancel();
    }

    /// Passes on what is left, as far as that goes within a few seconds, and leaves the rest to another process. The witnesses
    /// go on to tell how far that one is.
    pub async fn hand_over(&mut self) {
        self.stop.cancel();
        while let Some(worker) = self.workers.join_next().await {
            match worker {
                Ok(worker) if worker.testimony.is_some() => {
                    self.watchers.spawn(async move { worker.watch(&CancellationToken::new()).await });
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "a sink of the audit ended with a fault"),
            }
        }
    }

    /// Whether another process passes on.
    #[must_use]
    pub fn are_handed_over(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Passes on what is left, as far as that goes within a few seconds, and ends.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.workers.join_next().await.is_some() {}
    }
}

/// How many entries are passed on to a sink at a time.
const fn batch(sink: &Sink) -> usize {
    // Of most entries nothing goes to a sink for alerts.
    if matches!(sink.target, Target::Webhook { .. }) && !sink.only_alerts { WEBHOOK_BATCH } else { BATCH }
}

/// Where a sink leads.
#[derive(Debug)]
enum Outlet {
    File(file::Outlet),
    Syslog(Box<syslog::Outlet>),
    Webhook(Box<webhook::Outlet>),
}

/// What is known of an outage.
#[derive(Debug, Default)]
struct Outage {
    /// How many tries failed in a row.
    failures: u32,
    /// Whether the audit was told.
    is_told: bool,
    /// When the audit was told last.
    told_at: Option<Instant>,
}

#[derive(Debug)]
struct Worker {
    sink: Sink,
    store: Store,
    node: Arc<str>,
    system: System,
    outlet: Outlet,
    testimony: Option<Testimony>,
    /// What the sink took for certain.
    taken: i64,
    /// What it was given.
    sent: i64,
    /// What could not be read of that, and is not certain yet.
    unreadable: Vec<i64>,
    outage: Outage,
}

impl Worker {
    async fn run(mut self, begin: CancellationToken, stop: CancellationToken) -> Self {
        self.watch(&begin).await;
        // Whoever passed on before came further than was known when this was made.
        while let Err(error) = self.take_up().await {
            tracing::error!(sink = %self.sink.name, %error, "it is not known how far a sink of the audit is");
            tokio::select! {
                () = stop.cancelled() => return self,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        self.pass_on(&stop).await;
        self
    }

    async fn take_up(&mut self) -> Result<(), store::Error> {
        self.taken = self.store.open_sink(self.sink.name.to_string()).await?;
        self.sent = self.taken;
        self.unreadable.clear();
        Ok(())
    }

    /// Tells how far another process is with this sink, until `end`.
    async fn watch(&self, end: &CancellationToken) {
        while !end.is_cancelled() {
            if let Some(testimony) = &self.testimony {
                match self.store.oldest_waiting(self.sink.name.to_string()).await {
                    Ok(oldest) => testimony.waits_since(oldest),
                    // Nobody gets in without the store.
                    Err(error) => tracing::warn!(sink = %self.sink.name, %error, "it is not known how far a sink is"),
                }
            }
            tokio::select! {
                () = end.cancelled() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn pass_on(&mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let wait = match self.round().await {
                Ok(true) => continue,
                Ok(false) => LOOK_EVERY,
                Err(error) => {
                    self.failed(&error).await;
                    let doubled = 2_u32.saturating_pow(self.outage.failures.saturating_sub(1));
                    BACK_OFF.0.saturating_mul(doubled).min(BACK_OFF.1)
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        let farewell = async {
            while self.round().await? {}
            if let Outlet::Syslog(outlet) = &mut self.outlet {
                outlet.close().await?;
            }
            // An entry that tells of it now would have to wait for the next start itself.
            self.outage.is_told = false;
            self.keep(self.sent).await
        };
        let told = match tokio::time::timeout(FAREWELL, farewell).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => Error::Slow(FAREWELL).to_string(),
        };
        tracing::warn!(sink = %self.sink.name, error = told, "what is left is passed on after the next start");
    }

    /// Passes on the next entries; whether there may be more.
    async fn round(&mut self) -> Result<bool, Error> {
        let batch = batch(&self.sink);
        let Backlog { entries, through, unreadable } = self.store.queue(self.sent, batch).await?;
        let is_full = entries.len().saturating_add(unreadable.len()) >= batch;
        // In an outage what waits is told by `failed`: what was sent may still come back.
        if let Some(testimony) = self.testimony.as_ref().filter(|_| self.outage.failures == 0) {
            testimony.waits_since(entries.first().map(|sealed| sealed.entry.at));
        }
        let Some(last) = through else {
            self.settle().await?;
            if self.sent == self.taken {
                self.recovered().await?;
            }
            return Ok(false);
        };
        let Sink { format, level, syslog, only_alerts, .. } = &self.sink;
        let wanted = entries.iter().filter(|sealed| {
            if *only_alerts {
                sealed.entry.event == Event::Alert
            } else {
                passes(*level, sealed.entry.logging, &sealed.entry)
            }
        });
        match &mut self.outlet {
            Outlet::File(outlet) => {
                outlet.put(wanted.map(|sealed| line(*format, sealed, syslog)).collect()).await?;
            }
            Outlet::Syslog(outlet) => {
                let messages: Vec<_> = wanted.map(|sealed| message(*format, sealed, syslog)).collect();
                outlet.put(&messages, last).await?;
            }
            Outlet::Webhook(outlet) => {
                outlet.put(wanted.map(|sealed| (sealed.id, json(sealed))).collect()).await?;
                outlet.passed(last);
            }
        }
        self.sent = last;
        self.unreadable.extend(unreadable);
        self.settle().await?;
        if let Some(testimony) = self.testimony.as_ref().filter(|_| self.outage.failures == 0 && !is_full) {
            testimony.waits_since(None);
        }
        Ok(is_full)
    }

    /// Keeps what is certain by now.
    async fn settle(&mut self) -> Result<(), Error> {
        let certain = match &mut self.outlet {
            Outlet::File(_) => self.sent,
            Outlet::Syslog(outlet) => outlet.certain().await?.unwrap_or(self.taken),
            Outlet::Webhook(outlet) => outlet.certain().unwrap_or(self.taken),
        };
        self.keep(certain).await
    }

    async fn keep(&mut self, through: i64) -> Result<(), Error> {
        if through > self.taken {
            self.take(through).await?;
            self.recovered().await?;
        }
        Ok(())
    }

    /// Has the store keep that everything up to `through` was taken, but what could not be read.
    async fn take(&mut self, through: i64) -> Result<(), store::Error> {
        let lost = self.unreadable.iter().filter(|id| **id <= through).count();
        let told = (lost > 0).then(|| {
            let what = format!("sink {} never got {lost} entries, which this program cannot read", self.sink.name);
            Entry::new(self.system.now(), &self.node, Event::SinkLost, Outcome::Failed).detail(&what)
        });
        self.store.pass_on(self.sink.name.to_string(), through, lost, told).await?;
        self.unreadable.retain(|id| *id > through);
        self.taken = through;
        Ok(())
    }

    async fn failed(&mut self, error: &Error) {
        match &mut self.outlet {
            Outlet::File(_) => {}
            Outlet::Syslog(outlet) => outlet.drop_connection(),
            Outlet::Webhook(outlet) => {
                // What it took before it failed it need not take again. Where the store does not keep that, it will.
                let certain = outlet.certain().unwrap_or(self.taken);
                if certain > self.taken
                    && let Err(error) = self.take(certain).await
                {
                    tracing::warn!(sink = %self.sink.name, %error, "how far a sink of the audit is was not kept");
                }
            }
        }
        self.sent = self.taken;
        self.unreadable.clear();
        // From the oldest entry that is not certain: it may have been sent, but who knows.
        if let (Some(testimony), Ok(queue)) = (&self.testimony, self.store.queue(self.sent, 1).await) {
            testimony.waits_since(queue.entries.first().map(|sealed| sealed.entry.at));
        }
        self.outage.failures = self.outage.failures.saturating_add(1);
        let failures = self.outage.failures;
        if failures.is_power_of_two() {
            tracing::warn!(sink = %self.sink.name, %error, failures, "a sink of the audit takes nothing");
        }
        let now = self.system.instant();
        let is_new = self.outage.told_at.is_none_or(|told| now.duration_since(told) >= TELL_EVERY);
        if !self.outage.is_told
            && is_new
            && self.tell(Event::SinkDown, Outcome::Failed, &error.to_string()).await.is_ok()
        {
            (self.outage.is_told, self.outage.told_at) = (true, Some(now));
        }
    }

    /// What was given to it is certain.
    async fn recovered(&mut self) -> Result<(), Error> {
        if self.outage.failures > 0 {
            tracing::info!(sink = %self.sink.name, "a sink of the audit takes entries again");
            if self.outage.is_told {
                self.tell(Event::SinkUp, Outcome::Noted, "all that waited is passed on").await?;
            }
            (self.outage.failures, self.outage.is_told) = (0, false);
        }
        Ok(())
    }

    async fn tell(&self, event: Event, outcome: Outcome, what: &str) -> Result<(), store::Error> {
        let entry = Entry::new(self.system.now(), &self.node, event, outcome);
        self.store.append(entry.detail(&format!("sink {}: {what}", self.sink.name))).await
    }
}

#[cfg(test)]
mod tests;
