//! TLS on data connections: who may resume what.
//!
//! Follows RFC 4217 §7 (we are the server towards the client and the client towards the host, whoever connected) and what hosts
//! demand beyond it: that the data connection resumes the session of the control connection.
//!
//! Invariants: sessions with a host are remembered for one control connection and die with it. A client that resumes a session on
//! a data connection resumes one of its own control connection; no other is known there. (The mark that rustls can put into
//! a session would not do: it is not reported for sessions of TLS 1.2.)

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::server::{ProducesTickets, StoresServerSessions};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{Accept, Connect, TlsAcceptor, TlsConnector};

/// How many sessions are kept with a host (rustls keeps as many tickets of TLS 1.3, each good for one use), and how many with a
/// client.
const SESSIONS: usize = 8;

/// The versions to build a host's `ClientConfig` with. TLS 1.2 alone helps with hosts that demand resumption and hand out too few
/// tickets: a session of TLS 1.2 can be resumed again and again.
#[must_use]
pub const fn versions(only_tls12: bool) -> &'static [&'static SupportedProtocolVersion] {
    const ONLY_TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
    if only_tls12 { ONLY_TLS12 } else { rustls::ALL_VERSIONS }
}

/// TLS towards the host, for one control connection and its data connections.
#[derive(Clone)]
pub struct HostTls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl HostTls {
    /// With the trust and the versions of `base`, but a session store of its own.
    #[must_use]
    pub fn new(base: &ClientConfig, name: ServerName<'static>) -> Self {
        let mut config = base.clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Self { connector: TlsConnector::from(Arc::new(config)), name }
    }

    /// Does the handshake, resuming the last session if there is one.
    pub fn connect<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Connect<S> {
        self.connector.connect(self.name.clone(), stream)
    }
}

impl fmt::Debug for HostTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostTls").field("name", &self.name).finish_non_exhaustive()
    }
}

/// TLS towards the client, for one control connection and its data connections.
#[derive(Clone)]
pub struct ClientTls {
    control: TlsAcceptor,
    download: TlsAcceptor,
    upload: TlsAcceptor,
    requires_reuse: bool,
}

impl ClientTls {
    /// With the certificate of `base`. On the control connection any session that `base` remembers can be resumed, on data
    /// connections only one of this control connection. `requires_reuse`: data connections must do that; many clients cannot.
    #[must_use]
    pub fn new(base: &ServerConfig, requires_reuse: bool) -> Self {
        let sessions = Arc::new(Sessions { kept: Mutex::default(), shared: base.session_storage.clone() });
        let acceptor = |is_control, tickets| {
            let mut config = base.clone();
            // Tickets that hold the session themselves would be good on any control connection.
            config.ticketer = Arc::new(NoTicketer);
            config.session_storage = Arc::new(Store { sessions: sessions.clone(), is_control });
            if !is_control {
                config.send_tls13_tickets = tickets;
            }
            TlsAcceptor::from(Arc::new(config))
        };
        // Many clients close their upload without reading: a ticket that lies there unread makes that a reset, and the end of the
        // file is lost. Only where reuse is a must do clients that use each ticket once need one then, too.
        let for_upload = usize::from(requires_reuse);
        let [download, upload] = [1, for_upload].map(|tickets| acceptor(false, tickets));
        Self { control: acceptor(true, 0), download, upload, requires_reuse }
    }

    /// Does the handshake of the control connection.
    pub fn accept_control<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Accept<S> {
        self.control.accept(stream)
    }

    /// Does the handshake of a data connection that the client receives on.
    pub(super) fn accept_download<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Accept<S> {
        self.download.accept(stream)
    }

    /// Does the handshake of a data connection that the client may send on.
    pub(super) fn accept_upload<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Accept<S> {
        self.upload.accept(stream)
    }

    pub(super) const fn requires_reuse(&self) -> bool {
        self.requires_reuse
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("requires_reuse", &self.requires_reuse).finish_non_exhaustive()
    }
}

/// A session's key and what is remembered of it.
type Session = (Vec<u8>, Vec<u8>);

/// The sessions a client can resume on data connections.
struct Sessions {
    kept: Mutex<Kept>,
    shared: Arc<dyn StoresServerSessions>,
}

#[derive(Default)]
struct Kept {
    /// Those of the control connection: many clients resume one of them each time.
    control: VecDeque<Session>,
    /// Those of the last data connections, for clients that resume the newest.
    data: VecDeque<Session>,
}

/// What one kind of connection sees of the sessions.
struct Store {
    sessions: Arc<Sessions>,
    is_control: bool,
}

impl Store {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.sessions.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoresServerSessions for Store {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let mut kept = self.kept();
        let kept = if self.is_control { &mut kept.control } else { &mut kept.data };
        if kept.len() >= SESSIONS {
            kept.pop_front();
        }
        kept.push_back((key.clone(), value.clone()));
        if self.is_control { self.sessions.shared.put(key, value) } else { true }
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        if self.is_control {
            return self.sessions.shared.get(key);
        }
        let kept = self.kept();
        kept.control.iter().chain(&kept.data).find(|(known, _)| known == key).map(|(_, value)| value.clone())
    }

    /// On data connections a session can be resumed more than once. What single use guards against is the replay of early data,
    /// and there is none.
    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        if self.is_control { self.sessions.shared.take(key) } else { self.get(key) }
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("is_control", &self.is_control).finish_non_exhaustive()
    }
}

/// Makes no tickets: sessions are remembered here.
#[derive(Debug)]
struct NoTicketer;

impl ProducesTickets for NoTicketer {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _cipher: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use rustls::server::ServerSessionMemoryCache;

    use super::*;

    #[test]
    fn a_control_connections_sessions_outlive_many_transfers_and_are_known_to_no_other() {
        let shared: Arc<dyn StoresServerSessions> = ServerSessionMemoryCache::new(32);
        let pair = || {
            let sessions = Arc::new(Sessions { kept: Mutex::default(), shared: shared.clone() });
            [true, false].map(|is_control| Store { sessions: sessions.clone(), is_control })
        };
        let ([control, data], [other_control, other_data]) = (pair(), pair());
        assert!(control.put(vec![0], b"control".to_vec()));
        for key in 1..=20 {
            assert_eq!(data.take(&[0]), Some(b"control".to_vec()), "more than once");
            assert!(data.put(vec![key], b"data".to_vec()));
        }
        assert_eq!((data.take(&[20]), data.take(&[12])), (Some(b"data".to_vec()), None), "the newest are kept");
        assert_eq!((other_data.take(&[0]), other_data.get(&[20])), (None, None));
        assert_eq!((other_control.get(&[0]), other_control.take(&[20])), (Some(b"control".to_vec()), None));
        assert_eq!((other_control.take(&[0]), control.take(&[0])), (Some(b"control".to_vec()), None), "once");
    }
}
