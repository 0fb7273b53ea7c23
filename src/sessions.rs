//! The live sessions: who is connected, how far each has come, and the means to end it.
//!
//! A session is listed from its registration until the [`Listed`] is dropped, also when its task panics.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dashmap::DashMap;
use ipnet::IpNet;
use jiff::Timestamp;
use policy::{Notice, Service, User};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// All live sessions of this process.
#[derive(Debug, Clone, Default)]
pub struct Sessions(Arc<DashMap<Arc<str>, Arc<Session>>>);

/// One live session.
#[derive(Debug)]
pub struct Session {
    id: Arc<str>,
    service: Service,
    listener: Arc<str>,
    host: Arc<str>,
    source: SocketAddr,
    since: Timestamp,
    end: CancellationToken,
    /// Why it shall end, where a rule and not an operator says so.
    notice: OnceLock<Notice>,
    progress: Mutex<Progress>,
    /// Bytes that came from the client.
    pub client_bytes: AtomicU64,
    /// Bytes that came from the host.
    pub host_bytes: AtomicU64,
    /// Transfers of data beside the session, by FTP.
    pub transfers: AtomicU64,
}

#[derive(Debug)]
struct Progress {
    user: Option<User>,
    state: State,
    client_tls: Option<String>,
    host_tls: Option<String>,
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nobody has signed on.
    SignOn,
    /// The passcode is asked for.
    Passcode,
    /// Admitted.
    Admitted,
}

impl State {
    /// All of them, in the order in which a session comes to them.
    pub const ALL: [Self; 3] = [Self::SignOn, Self::Passcode, Self::Admitted];

    /// The name in lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignOn => "sign-on",
            Self::Passcode => "passcode",
            Self::Admitted => "admitted",
        }
    }
}

/// What a list tells of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The connection's id, as in the audit.
    pub id: String,
    /// The user named at the last sign-on.
    pub user: Option<String>,
    /// Where the client is.
    pub source: SocketAddr,
    /// By which protocol.
    pub service: Service,
    /// The listener it came in by.
    pub listener: String,
    /// The host it leads to.
    pub host: String,
    /// How far it has come.
    pub state: State,
    /// When it was opened.
    pub since: Timestamp,
    /// Bytes that came from the client.
    pub client_bytes: u64,
    /// Bytes that came from the host.
    pub host_bytes: u64,
    /// TLS with the client: version and cipher suite.
    pub client_tls: Option<String>,
    /// TLS with the host.
    pub host_tls: Option<String>,
    /// Transfers of data beside the session, by FTP.
    pub transfers: u64,
    /// The process that serves it.
    pub process: u32,
}

/// Which sessions are meant: those that fit everything that is said, and none where nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Of this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// From this address or network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpNet>,
    /// To this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// By this listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// That has come this far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// All of them.
    #[serde(default)]
    pub all: bool,
}

impl Selection {
    /// Whether `session` is meant.
    #[must_use]
    pub fn is_met_by(&self, session: &Summary) -> bool {
        let is_said = self.all
            || self.user.is_some()
            || self.source.is_some()
            || self.host.is_some()
            || self.listener.is_some()
            || self.state.is_some();
        is_said
            && self
                .user
                .as_ref()
                .is_none_or(|user| session.user.as_ref().is_some_and(|named| named.eq_ignore_ascii_case(user)))
            && self.source.is_none_or(|net| net.contains(&session.source.ip().to_canonical()))
            && self.host.as_ref().is_none_or(|host| session.host.eq_ignore_ascii_case(host))
            && self.listener.as_ref().is_none_or(|listener| session.listener.eq_ignore_ascii_case(listener))
            && self.state.is_none_or(|state| session.state == state)
    }
}

/// Why no session was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndError {
    /// None has this id.
    #[error("no session has this id")]
    NotFound,
    /// More than one id starts so.
    #[error("{0} sessions have an id that starts so")]
    Ambiguous(usize),
}

/// A session that is listed until this is dropped.
#[derive(Debug)]
pub struct Listed {
    sessions: Sessions,
    session: Arc<Session>,
}

impl Sessions {
    /// Lists `session`.
    #[must_use]
    pub fn add(&self, session: Session) -> Listed {
        let session = Arc::new(session);
        self.0.insert(Arc::clone(&session.id), Arc::clone(&session));
        Listed { sessions: self.clone(), session }
    }

    /// All of them, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Summary> {
        let mut list: Vec<_> = self.0.iter().map(|session| session.summary()).collect();
        list.sort_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        list
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Ends those that `selection` means and that are not about to end already.
    pub fn end_all(&self, selection: &Selection) -> Vec<Summary> {
        let live = self.0.iter().filter(|session| !session.end.is_cancelled()).map(|entry| Arc::clone(entry.value()));
        let live: Vec<_> = live.collect();
        let mut ended = Vec::new();
        for session in live {
            let summary = session.summary();
            if selection.is_met_by(&summary) {
                session.end.cancel();
                ended.push(summary);
            }
        }
        ended
    }

    /// Ends the session whose id is, or alone starts with, `id`.
    ///
    /// # Errors
    /// Where there is none, or more than one.
    pub fn end(&self, id: &str) -> Result<Summary, EndError> {
        if id.is_empty() {
            return Err(EndError::NotFound);
        }
        let found: Vec<_> =
            self.0.iter().filter(|entry| entry.id.starts_with(id)).map(|entry| Arc::clone(entry.value())).collect();
        match found.as_slice() {
            [] => Err(EndError::NotFound),
            [session] => {
                session.end.cancel();
                Ok(session.summary())
            }
            several => Err(EndError::Ambiguous(several.len())),
        }
    }
}

impl Session {
    /// A session that nobody has signed on to yet; cancelling `end` ends it.
    #[must_use]
    pub fn new(
        id: Arc<str>,
        service: Service,
        listener: Arc<str>,
        host: Arc<str>,
        source: SocketAddr,
        since: Timestamp,
        end: CancellationToken,
    ) -> Self {
        let progress = Mutex::new(Progress { user: None, state: State::SignOn, client_tls: None, host_tls: None });
        let (client_bytes, host_bytes, transfers) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self {
            id,
            service,
            listener,
            host,
            source,
            since,
            end,
            notice: OnceLock::new(),
            progress,
            client_bytes,
            host_bytes,
            transfers,
        }
    }

    /// The user who signs on.
    pub fn set_user(&self, user: Option<User>) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).user = user;
    }

    /// How far it has come now.
    pub fn set_state(&self, state: State) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).state = state;
    }

    /// TLS with the client is up.
    pub fn set_client_tls(&self, tls: Option<String>) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).client_tls = tls;
    }

    /// TLS with the host is up.
    pub fn set_host_tls(&self, tls: Option<String>) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).host_tls = tls;
    }

    /// Ends it with `notice`.
    pub fn end_with(&self, notice: Notice) {
        // The first one counts.
        let _ = self.notice.set(notice);
        self.end.cancel();
    }

    /// Ready when the session shall end, with what the user is to read.
    pub async fn ended(&self) -> Notice {
        self.end.cancelled().await;
        self.notice.get().copied().unwrap_or(Notice::Ended)
    }

    fn summary(&self) -> Summary {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        Summary {
            id: self.id.as_ref().to_owned(),
            user: progress.user.as_ref().map(|user| user.as_str().to_owned()),
            source: self.source,
            service: self.service,
            listener: self.listener.as_ref().to_owned(),
            host: self.host.as_ref().to_owned(),
            state: progress.state,
            since: self.since,
            client_bytes: self.client_bytes.load(Ordering::Relaxed),
            host_bytes: self.host_bytes.load(Ordering::Relaxed),
            client_tls: progress.client_tls.clone(),
            host_tls: progress.host_tls.clone(),
            transfers: self.transfers.load(Ordering::Relaxed),
            process: std::process::id(),
        }
    }
}

impl Listed {
    /// The session.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.sessions.0.remove(&self.session.id);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn session(id: &str, second: i64) -> Session {
        Session::new(
            id.into(),
            Service::Telnet,
            "terminals".into(),
            "PROD".into(),
            "192.0.2.7:40001".parse().unwrap(),
            Timestamp::from_second(second).unwrap(),
            CancellationToken::new(),
        )
    }

    #[test]
    fn sessions_are_listed_while_they_live() {
        let sessions = Sessions::default();
        let second = sessions.add(session("bb", 2));
        let first = sessions.add(session("aa", 1));
        first.session().set_user(Some("anna".parse().unwrap()));
        first.session().set_state(State::Passcode);
        first.session().host_bytes.store(7, Ordering::Relaxed);
        let list = sessions.list();
        assert_eq!(list.iter().map(|session| session.id.as_str()).collect::<Vec<_>>(), ["aa", "bb"]);
        assert_eq!((list[0].user.as_deref(), list[0].state, list[0].host_bytes), (Some("ANNA"), State::Passcode, 7));
        drop((first, second));
        assert_eq!((sessions.list(), sessions.count()), (vec![], 0));
    }

    #[test]
    fn sessions_end_by_id_or_its_unambiguous_start() {
        let sessions = Sessions::default();
        let kept: Vec<_> = ["abcd", "abef", "xy"].into_iter().map(|id| sessions.add(session(id, 1))).collect();
        assert_eq!(sessions.end("ab"), Err(EndError::Ambiguous(2)));
        assert_eq!(sessions.end("q"), Err(EndError::NotFound));
        assert_eq!(sessions.end(""), Err(EndError::NotFound));
        assert_eq!(sessions.end("abe").unwrap().id, "abef");
        let ended: Vec<_> = kept.iter().map(|listed| listed.session().end.is_cancelled()).collect();
        assert_eq!(ended, [false, true, false]);
    }

    #[test]
    fn sessions_end_by_what_they_are() {
        let sessions = Sessions::default();
        let kept: Vec<_> = ["a", "b", "c"].into_iter().map(|id| sessions.add(session(id, 1))).collect();
        kept[0].session().set_user(Some("anna".parse().unwrap()));
        kept[1].session().set_user(Some("bert".parse().unwrap()));
        let ended = |selection: &Selection| {
            let ended = sessions.end_all(selection).into_iter().map(|session| session.id);
            let mut ended: Vec<_> = ended.collect();
            ended.sort();
            ended.concat()
        };
        assert_eq!(ended(&Selection::default()), "", "who says nothing means nobody");
        let anna = Selection { user: Some("anna".into()), ..Selection::default() };
        let nowhere = Selection { source: Some("198.51.100.0/24".parse().unwrap()), ..anna.clone() };
        assert_eq!(ended(&nowhere), "");
        assert_eq!(ended(&anna), "a");
        assert_eq!(ended(&anna), "", "it ends already");
        assert_eq!(ended(&Selection { source: Some("192.0.2.7/32".parse().unwrap()), ..Selection::default() }), "bc");
        assert_eq!(ended(&Selection { all: true, ..Selection::default() }), "");
    }

    #[tokio::test]
    async fn sessions_end_with_the_first_notice() {
        let session = session("ab", 1);
        session.end_with(Notice::Refused);
        session.end_with(Notice::Unavailable);
        assert_eq!(session.ended().await, Notice::Refused);
    }
}
