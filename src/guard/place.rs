//! What is kept of FTP log-ons between two questions, in memory only: one place per user, source address and host.
//!
//! ```text
//!   kept      the password that the host accepted, sealed     until its challenge ends, or the window after it
//!   window    the passcode may be used again                  ftp.window, ftp.window-uses
//!   check     a password is on its way to the host            until the gate tells what came of it, or its time is over
//!   accepted, refused   which password the host judged last   for a moment
//! ```
//!
//! Invariants: whoever holds a [`Turn`] is alone at its place. Passwords are sealed or known by a keyed hash only; what is
//! over is wiped when its time comes, whether or not anybody asks. There are never more than [`PLACES_MAX`] places.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use policy::User;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Peer;
use crate::system::System;

/// The most places that are kept.
pub(super) const PLACES_MAX: usize = 16_384;
/// How often what is over is looked for.
const WIPE_EVERY: Duration = Duration::from_secs(1);
/// How much longer than a gate takes to have a password checked by the host, its report may take.
const REPORT_MAX: Duration = Duration::from_secs(3);
/// How long it is remembered that the host accepted a password.
const ACCEPTED_MAX: SignedDuration = SignedDuration::from_secs(60);
/// How long it is remembered that the host refused a password: clients that try it on several connections at once are told
/// without the host being asked again.
const REFUSED_MAX: SignedDuration = SignedDuration::from_secs(10);

/// Whose log-ons go together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    user: User,
    source: IpAddr,
    host: Arc<str>,
}

impl Place {
    /// The place of `user` at `peer`.
    pub(super) fn new(peer: &Peer, user: &User) -> Self {
        Self { user: user.clone(), source: peer.source.ip().to_canonical(), host: Arc::clone(&peer.host) }
    }

    /// What challenges of this place are bound to, in place of a connection.
    pub(super) fn name(&self) -> String {
        format!("ftp {} {} {}", self.user, self.source, self.host)
    }
}

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    slots: Arc<Mutex<Slots>>,
    /// At which place a connection's password is being checked.
    checking: Mutex<HashMap<String, Place>>,
    system: System,
}

type Slots = HashMap<Place, Arc<tokio::sync::Mutex<State>>>;

/// There are too many places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many log-ons are under way")]
pub(super) struct Full;

impl Places {
    /// No places, and a task that wipes what is over, for as long as they live.
    pub(super) fn new(system: System) -> Self {
        let slots = Arc::default();
        tokio::spawn(wipe(Arc::downgrade(&slots), system.clone()));
        Self { slots, checking: Mutex::default(), system }
    }

    /// Waits for the turn at `place`. What is over there is gone.
    pub(super) async fn turn(&self, place: &Place) -> Result<Turn, Full> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            match slots.get(place) {
                Some(slot) => Arc::clone(slot),
                None if slots.len() >= PLACES_MAX => return Err(Full),
                None => Arc::clone(slots.entry(place.clone()).or_default()),
            }
        };
        let mut state = slot.lock_owned().await;
        state.expire(self.system.now());
        Ok(Turn { state, place: place.clone(), slots: Arc::clone(&self.slots) })
    }

    /// Notes that `connection` has a password checked at `place`.
    pub(super) fn checks(&self, connection: &str, place: &Place) {
        let mut checking = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        checking.insert(connection.to_owned(), place.clone());
    }

    /// The place where `connection` has had a password checked since the last call.
    pub(super) fn checked(&self, connection: &str) -> Option<Place> {
        self.checking.lock().unwrap_or_else(PoisonError::into_inner).remove(connection)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.slots.lock().unwrap().len()
    }
}

async fn wipe(slots: Weak<Mutex<Slots>>, system: System) {
    loop {
        tokio::time::sleep(WIPE_EVERY).await;
        let Some(slots) = slots.upgrade() else { return };
        let now = system.now();
        slots.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, slot| {
            // Whoever has the turn there wipes as well.
            let Ok(mut state) = slot.try_lock() else { return true };
            state.expire(now);
            !state.is_empty() || Arc::strong_count(slot) > 1
        });
    }
}

/// The turn at a place; a place with nothing in it goes away with the turn.
pub(super) struct Turn {
    state: OwnedMutexGuard<State>,
    place: Place,
    slots: Arc<Mutex<Slots>>,
}

impl Turn {
    /// Whose turn it is.
    pub(super) const fn place(&self) -> &Place {
        &self.place
    }
}

impl std::ops::Deref for Turn {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl std::ops::DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.state.is_empty() {
            return;
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Two: the map's and this one's. Whoever waits for a turn has one more.
        if Arc::strong_count(OwnedMutexGuard::mutex(&self.state)) == 2 {
            slots.remove(&self.place);
        }
    }
}

/// What is kept at a place.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) kept: Option<Kept>,
    pub(super) window: Option<Window>,
    pub(super) check: Option<Check>,
    accepted: Option<Judged>,
    refused: Option<Judged>,
}

/// A password that the host accepted, and the challenge it waits for.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) sealed: Vec<u8>,
    /// Its keyed hash.
    pub(super) mark: Vec<u8>,
    pub(super) challenge: String,
    pub(super) until: Timestamp,
}

/// The passcode of `challenge` may be used again.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) challenge: String,
    /// The keyed hash of what was right.
    pub(super) mark: Vec<u8>,
    pub(super) until: Timestamp,
    pub(super) uses_left: u32,
}

/// A password on its way to the host. Whoever waits for `over` goes on once this is dropped.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) connection: String,
    pub(super) sealed: Vec<u8>,
    pub(super) mark: Vec<u8>,
    /// Its number in the budget.
    pub(super) reserved: i64,
    /// It is the log-on itself: nobody asks about it again.
    pub(super) direct: bool,
    pub(super) until: Timestamp,
    over: DropGuard,
}

/// A password by its keyed hash, and how long what the host said of it counts.
#[derive(Debug)]
struct Judged {
    mark: Vec<u8>,
    until: Timestamp,
}

impl Check {
    /// A check for `peer` that begins `now`.
    pub(super) fn new(peer: &Peer, sealed: Vec<u8>, mark: Vec<u8>, reserved: i64, now: Timestamp) -> Self {
        let over = CancellationToken::new().drop_guard();
        let time = SignedDuration::try_from(peer.check_time.saturating_add(REPORT_MAX)).unwrap_or(SignedDuration::MAX);
        let (connection, until) = (peer.connection.to_string(), after(now, time));
        Self { connection, sealed, mark, reserved, direct: false, until, over }
    }

    /// Ends when the check is over.
    pub(super) fn over(&self) -> CancellationToken {
        self.over.token().clone()
    }
}

impl State {
    /// Wipes what is over.
    fn expire(&mut self, now: Timestamp) {
        if self.window.as_ref().is_some_and(|window| window.until <= now || window.uses_left == 0) {
            self.close_window();
        }
        self.kept.take_if(|kept| kept.until <= now);
        self.check.take_if(|check| check.until <= now);
        self.accepted.take_if(|judged| judged.until <= now);
        self.refused.take_if(|judged| judged.until <= now);
    }

    const fn is_empty(&self) -> bool {
        self.kept.is_none()
            && self.window.is_none()
            && self.check.is_none()
            && self.accepted.is_none()
            && self.refused.is_none()
    }

    /// Keeps a password for a challenge. A window that was open is closed: it belonged to another password.
    pub(super) fn keep(&mut self, kept: Kept) {
        self.window = None;
        self.kept = Some(kept);
    }

    /// Has the passcode that was just used count again until `until`; the password is kept as long.
    pub(super) fn open_window(&mut self, challenge: &str, mark: Vec<u8>, until: Timestamp, uses: u32) {
        if let Some(kept) = &mut self.kept {
            kept.until = until;
        }
        self.window = Some(Window { challenge: challenge.to_owned(), mark, until, uses_left: uses });
    }

    /// Ends the window, and wipes the password that was kept for it.
    pub(super) fn close_window(&mut self) {
        if let Some(window) = self.window.take() {
            self.kept.take_if(|kept| kept.challenge == window.challenge);
        }
    }

    /// Wipes the password and ends the window.
    pub(super) fn forget(&mut self) {
        self.kept = None;
        self.window = None;
        self.accepted = None;
    }

    /// Ends the check of `connection`, and gives it.
    pub(super) fn end_check(&mut self, connection: &str) -> Option<Check> {
        self.check.take_if(|check| check.connection == connection)
    }

    /// Notes that the host accepted the password of this keyed hash.
    pub(super) fn accept(&mut self, mark: Vec<u8>, now: Timestamp) {
        self.refused = None;
        self.accepted = Some(Judged { mark, until: after(now, ACCEPTED_MAX) });
    }

    /// Notes that the host refused the password of this keyed hash.
    pub(super) fn refuse(&mut self, mark: Vec<u8>, now: Timestamp) {
        self.accepted = None;
        self.refused = Some(Judged { mark, until: after(now, REFUSED_MAX) });
    }

    /// The keyed hash of the password that the host accepted a moment ago.
    pub(super) fn accepted(&self) -> Option<&[u8]> {
        self.accepted.as_ref().map(|judged| judged.mark.as_slice())
    }

    /// The keyed hash of the password that the host refused a moment ago.
    pub(super) fn refused(&self) -> Option<&[u8]> {
        self.refused.as_ref().map(|judged| judged.mark.as_slice())
    }
}

/// `time` after `now`, or the end of time.
pub(super) fn after(now: Timestamp, time: SignedDuration) -> Timestamp {
    now.checked_add(time).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use policy::Service;

    use super::*;
    use crate::guard::ConnectionId;
    use crate::key::Key;
    use crate::seal::Sealer;
    use crate::testing::Folder;

    fn place(number: usize) -> Place {
        Place { user: "ANNA".parse().unwrap(), source: "203.0.113.9".parse().unwrap(), host: number.to_string().into() }
    }

    fn sealed(folder: &Folder) -> Vec<u8> {
        let sealer = Sealer::new(&Key::open(&folder.path("key"), &System::new()).unwrap(), "test");
        sealer.seal(&crate::seal::Place::new("test", &[""]), &policy::Secret::new(b"secret".to_vec())).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_wiped_though_nobody_asks() {
        let (folder, system) = (Folder::new(), System::stopped());
        let places = Places::new(system.clone());
        let ends = after(system.now(), SignedDuration::from_secs(300));
        let mut turn = places.turn(&place(1)).await.unwrap();
        turn.keep(Kept { sealed: sealed(&folder), mark: Vec::new(), challenge: "c".to_owned(), until: ends });
        drop(turn);
        assert_eq!(places.count(), 1);
        tokio::time::sleep(Duration::from_secs(299)).await;
        assert_eq!(places.count(), 1);
        system.pass(300);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(places.count(), 0);
    }

    #[tokio::test]
    async fn a_window_that_ends_takes_its_password_with_it() {
        let (folder, system) = (Folder::new(), System::stopped());
        let places = Places::new(system.clone());
        let mut turn = places.turn(&place(1)).await.unwrap();
        let until = after(system.now(), SignedDuration::from_secs(300));
        turn.keep(Kept { sealed: sealed(&folder), mark: Vec::new(), challenge: "c".to_owned(), until });
        turn.open_window("c", Vec::new(), after(system.now(), SignedDuration::from_secs(120)), 2);
        drop(turn);
        system.pass(120);
        let turn = places.turn(&place(1)).await.unwrap();
        assert!(turn.kept.is_none() && turn.window.is_none());
        drop(turn);
        assert_eq!(places.count(), 0);
    }

    #[tokio::test]
    async fn one_at_a_time_and_never_too_many() {
        let system = System::stopped();
        let places = Arc::new(Places::new(system.clone()));
        let first = places.turn(&place(0)).await.unwrap();
        let other = {
            let places = Arc::clone(&places);
            tokio::spawn(async move { places.turn(&place(0)).await.map(drop) })
        };
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!other.is_finished());
        drop(first);
        other.await.unwrap().unwrap();
        assert_eq!(places.count(), 0, "nothing was kept there");

        let mut turns = Vec::new();
        for number in 0..PLACES_MAX {
            turns.push(places.turn(&place(number)).await.unwrap());
        }
        assert_eq!(places.turn(&place(PLACES_MAX)).await.err(), Some(Full));
        turns.clear();
        assert_eq!(places.count(), 0);
    }

    #[tokio::test]
    async fn a_check_that_nobody_ends_is_over_some_time() {
        let (folder, system) = (Folder::new(), System::stopped());
        let places = Places::new(system.clone());
        let mut turn = places.turn(&place(0)).await.unwrap();
        let peer = Peer {
            connection: ConnectionId::new(&system).unwrap(),
            service: Service::Ftp,
            host: "PROD".into(),
            source: "203.0.113.9:1".parse().unwrap(),
            listener: "files".into(),
            certificate: OnceLock::new(),
            code_first: false,
            check_time: Duration::from_secs(30),
            private: true,
        };
        turn.check = Some(Check::new(&peer, sealed(&folder), Vec::new(), 1, system.now()));
        let over = turn.check.as_ref().unwrap().over();
        drop(turn);
        assert!(!over.is_cancelled());
        system.pass(32);
        drop(places.turn(&place(0)).await.unwrap());
        assert!(!over.is_cancelled(), "the gate may still be waiting for the host");
        system.pass(1);
        drop(places.turn(&place(0)).await.unwrap());
        assert!(over.is_cancelled());
    }
}
