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

/// The talks of all connections, and on which of them the host has accepted a password of whom.
#[derive(Debug, Default)]
pub(super) struct Talks(DashMap<ConnectionId, (User, Talk)>, DashMap<ConnectionId, User>);

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
        let held = self.0.get(&case.peer.connection);
        held.filter(|held| held.0 == *case.user).map(|held| held.1.clone()).unwrap_or_default()
    }

    /// From now on the user of `case` is being asked this on its connection.
    pub(super) fn put(&self, case: &Case<'_>, talk: Talk) {
        self.0.insert(case.peer.connection.clone(), (case.user.clone(), talk));
    }

    /// `connection` is being asked nothing any more, and whatever the host accepted there is over.
    pub(super) fn end(&self, connection: &ConnectionId) {
        self.0.remove(connection);
        self.1.remove(connection);
    }

    /// The host has accepted a password of `user` on `connection`.
    pub(super) fn accept(&self, connection: &ConnectionId, user: &User) {
        self.1.insert(connection.clone(), user.clone());
    }

    /// Whether the host has accepted a password of `user` on `connection`, for the sign-on that goes on there.
    pub(super) fn has_accepted(&self, connection: &ConnectionId, user: Option<&User>) -> bool {
        self.1.get(connection).is_some_and(|held| Some(&*held) == user)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.len() + self.1.len()
    }
}
