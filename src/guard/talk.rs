//! What a terminal's connection is being asked, between two questions: in memory, for as long as the connection lives.
//!
//! Invariants: a talk serves the user whom it was begun with, on the connection it was begun on, and nobody else; a talk that
//! is gone ends in a refusal. Where one has the user let in afterwards, the proof was judged, used up and audited before it
//! began.

use std::sync::Arc;

use dashmap::DashMap;
use policy::{Secret, User};

use super::ConnectionId;
use super::challenge::Case;
use super::proof::Name;
use crate::factor::radius;

/// The talks of all connections, on which of them the host has accepted a password of whom, and how much was said there.
#[derive(Debug, Default)]
pub(super) struct Talks {
    /// Connections that there are. What comes to an end after its connection leaves nothing behind.
    alive: DashMap<ConnectionId, ()>,
    held: DashMap<ConnectionId, (User, Talk)>,
    accepted: DashMap<ConnectionId, User>,
    said: DashMap<ConnectionId, Said>,
}

/// What was said on a connection since the sign-on, for bounds on what can be had written into the audit.
#[derive(Debug, Clone, Default)]
struct Said {
    answers: u32,
    /// The challenge that the next two are about.
    challenge: String,
    /// Answers to it with the letter of another one.
    foreign: u32,
    /// Whether it was told that no other message is sent yet.
    unsent: bool,
}

/// What one connection is being asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Talk {
    /// What is on its screen.
    pub(super) step: Step,
    /// The user wants to look at contacts once the passcode was right.
    pub(super) maintain: bool,
    /// What a RADIUS server gave with its question, and its words.
    pub(super) radius: Option<(radius::State, String)>,
    /// Wrong tickets on this connection.
    pub(super) wrong_tickets: u8,
}

/// What is on a terminal's screen.
#[derive(Debug, Clone, Default)]
pub(super) enum Step {
    /// The passcode prompt, or nothing of ours.
    #[default]
    Passcode,
    /// The choice among these.
    Choosing(Vec<Name>),
    /// The ticket that enrolling takes.
    Ticket,
    /// One of these to enrol; `admitted`: the user has proven something already, and is let in afterwards.
    Offer { options: Vec<policy::Factor>, admitted: bool },
    /// The address or number to enrol.
    Address { kind: policy::ContactKind, admitted: bool },
    /// The code that was sent to the contact of this number.
    Confirming { contact: i64, admitted: bool },
    /// The first code of the app with this factor's number; its key, as it is shown.
    App { factor: i64, key: Arc<Secret<String>>, admitted: bool },
    /// The user's own contacts and factors; the user has proven something, and is let in afterwards.
    Contacts(Vec<Name>),
}

impl Talks {
    /// What the user of `case` is being asked on its connection; nothing of ours where nothing is known.
    pub(super) fn of(&self, case: &Case<'_>) -> Talk {
        let held = self.held.get(&case.peer.connection);
        held.filter(|held| held.0 == *case.user).map(|held| held.1.clone()).unwrap_or_default()
    }

    /// From now on the user of `case` is being asked this on its connection.
    pub(super) fn put(&self, case: &Case<'_>, talk: Talk) {
        // Held while it is put: the connection's end waits for it, and takes it away.
        if let Some(_alive) = self.alive.get(&case.peer.connection) {
            self.held.insert(case.peer.connection.clone(), (case.user.clone(), talk));
        }
    }

    /// Something is asked on `connection`, which lives.
    pub(super) fn open(&self, connection: &ConnectionId) {
        if !self.alive.contains_key(connection) {
            self.alive.insert(connection.clone(), ());
        }
    }

    /// `connection` is over.
    pub(super) fn close(&self, connection: &ConnectionId) {
        self.alive.remove(connection);
        self.end(connection);
    }

    /// `connection` is being asked nothing any more, and whatever the host accepted there is over.
    pub(super) fn end(&self, connection: &ConnectionId) {
        self.held.remove(connection);
        self.accepted.remove(connection);
        self.said.remove(connection);
    }

    /// A sign-on begins on `connection`.
    pub(super) fn begin(&self, connection: &ConnectionId) {
        self.end(connection);
        if let Some(_alive) = self.alive.get(connection) {
            self.said.insert(connection.clone(), Said::default());
        }
    }

    /// One more answer on `connection`: how many there are since the sign-on; 0 where it is over.
    pub(super) fn answered(&self, connection: &ConnectionId) -> u32 {
        self.said.get_mut(connection).map_or(0, |mut said| {
            said.answers = said.answers.saturating_add(1);
            said.answers
        })
    }

    /// One more answer to `challenge` with the letter of another one: how many there are.
    pub(super) fn foreign(&self, connection: &ConnectionId, challenge: &str) -> u32 {
        self.about(connection, challenge, |said| {
            said.foreign = said.foreign.saturating_add(1);
            said.foreign
        })
    }

    /// Another message than that of `challenge` is not sent yet: whether that is the first time.
    pub(super) fn unsent(&self, connection: &ConnectionId, challenge: &str) -> bool {
        self.about(connection, challenge, |said| !core::mem::replace(&mut said.unsent, true))
    }

    fn about<T>(&self, connection: &ConnectionId, challenge: &str, note: impl FnOnce(&mut Said) -> T) -> T {
        // Of a sign-on that is over nothing is kept.
        let mut over = Said::default();
        let mut held = self.said.get_mut(connection);
        let said = held.as_deref_mut().unwrap_or(&mut over);
        if said.challenge != challenge {
            *said = Said { answers: said.answers, challenge: challenge.to_owned(), ..Said::default() };
        }
        note(said)
    }

    /// The host has accepted a password of `user` on `connection`.
    pub(super) fn accept(&self, connection: &ConnectionId, user: &User) {
        if let Some(_alive) = self.alive.get(connection) {
            self.accepted.insert(connection.clone(), user.clone());
        }
    }

    /// Whether the host has accepted a password of `user` on `connection`, for the sign-on that goes on there.
    pub(super) fn has_accepted(&self, connection: &ConnectionId, user: Option<&User>) -> bool {
        self.accepted.get(connection).is_some_and(|held| Some(&*held) == user)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.held.len() + self.accepted.len() + self.said.len()
    }
}
