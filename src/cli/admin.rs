//! An administrator at work on the store: every change is audited with who made it.

use std::env;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Global;
use crate::audit::{Entry, Event, Outcome};
use crate::config::Config;
use crate::control::{self, Answer, Command};
use crate::delivery::{Names, Post};
use crate::key::Key;
use crate::notify::{Couriers, Waits};
use crate::sessions::Selection;
use crate::store::Store;
use crate::system::System;

/// How much of what was done stands in an entry, in characters.
const WHAT_MAX: usize = 400;

/// The store, and what audit entries and times need.
pub(crate) struct Admin {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) now: Timestamp,
    pub(crate) system: System,
}

impl Admin {
    /// Opens the store that the configuration names.
    pub(crate) async fn open(global: &Global) -> anyhow::Result<Self> {
        let (config, system) = (global.load()?, System::new());
        let store = Store::open(&config.gateway.store, system.now()).await?;
        if let Some(latest) = store.latest_time().await? {
            system.not_before(latest);
        }
        Ok(Self { config, store, now: system.now(), system })
    }

    /// Writes messages and queues them for the running gateway.
    pub(crate) fn post(&self) -> anyhow::Result<Post> {
        let key = Key::open(&self.config.gateway.key_file, &self.system)?;
        let (names, alerts) = (Names::of(&self.config), self.config.alerts.clone());
        // Nobody here waits for a passcode.
        Ok(Post::new(self.store.clone(), &key, names, self.system.clone(), alerts, Waits::default()))
    }

    /// Relays and providers, to hand over by itself.
    pub(crate) fn couriers(&self) -> anyhow::Result<Couriers> {
        Ok(Couriers::open(&self.config, &self.config.open()?)?)
    }

    /// An entry of a change: what was done, in words; who did it is added.
    pub(crate) fn entry(&self, reason: &str, what: &str) -> Entry {
        self.entry_of(Event::Changed, reason, what)
    }

    /// The same for another event.
    pub(crate) fn entry_of(&self, event: Event, reason: &str, what: &str) -> Entry {
        let entry = Entry::new(self.now, &self.config.gateway.node, event, Outcome::Noted).reason(reason);
        // However long a comment is, the operator is not cut off.
        let what = match what.char_indices().nth(WHAT_MAX) {
            Some((end, _)) => format!("{}...", &what[..end]),
            None => what.to_owned(),
        };
        entry.detail(&format!("{what}; by {}", operator()))
    }

    /// A time for people, in the gateway's zone.
    pub(crate) fn local(&self, time: Timestamp) -> String {
        local(time, &self.config.gateway.time_zone)
    }

    /// Ends the live sessions of `user`, where a gateway runs on this machine; how many there were. Gateways that cannot be
    /// asked see it by themselves within a second or so.
    pub(crate) async fn end_sessions(&self, user: &str) -> usize {
        let mut ended = 0;
        for socket in super::session::sockets(&self.config.gateway.control) {
            let selection = Selection { user: Some(user.to_owned()), ..Selection::default() };
            if let Ok(Answer::Sessions { sessions }) = control::ask(&socket, &Command::SessionsEnd { selection }).await
            {
                ended += sessions.len();
            }
        }
        ended
    }
}

/// A time for people.
pub(crate) fn local(time: Timestamp, zone: &TimeZone) -> String {
    if time == Timestamp::MAX {
        return "unlocked".to_owned();
    }
    time.to_zoned(zone.clone()).strftime("%F %T").to_string()
}

/// Who runs this: the user id, which cannot be forged, and the names that the environment gives, which can.
pub(crate) fn operator() -> String {
    let id = rustix::process::getuid().as_raw();
    let name = ["SUDO_USER", "LOGNAME", "USER"].iter().find_map(|name| env::var(name).ok());
    match name {
        Some(name) => format!("uid {id} ({name})"),
        None => format!("uid {id}"),
    }
}

/// `1 session` or `3 sessions`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
