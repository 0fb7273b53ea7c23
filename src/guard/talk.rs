//! What a terminal's connection is being asked, between two questions: in memory, for as long as the connection lives.
//!
//! Nothing here lets anybody in: what was proven stands in the store and in the audit, and a talk that is gone ends in a
//! refusal.

use std::sync::Arc;

use dashmap::DashMap;
use policy::Secret;

use super::ConnectionId;
use super::proof::Name;
use crate::factor::radius;

/// The talks of all connections.
#[derive(Debug, Default)]
pub(super) struct Talks(DashMap<ConnectionId, Talk>);

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
    /// What `connection` is being asked; nothing of ours where nothing is known.
    pub(super) fn of(&self, connection: &ConnectionId) -> Talk {
        self.0.get(connection).map(|talk| talk.clone()).unwrap_or_default()
    }

    /// From now on `connection` is being asked this.
    pub(super) fn put(&self, connection: &ConnectionId, talk: Talk) {
        self.0.insert(connection.clone(), talk);
    }

    /// `connection` is being asked nothing any more.
    pub(super) fn end(&self, connection: &ConnectionId) {
        self.0.remove(connection);
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}
