//! One FTP connection: what the FTP relay needs of the world, and nothing of FTP itself.
//!
//! The relay connects to the host itself, more than once: to have a password checked, and again when somebody is
//! admitted. Handshakes are its own as well, since with `AUTH` they come in the middle of a conversation.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use policy::{Notice, Verdict};
use proxy_ftp::data::ClientTls;
use proxy_ftp::gate::{self, Gate};
use proxy_ftp::relay::{self, Connection, Means, Socket};
use tokio::net::TcpStream;

use super::Door;
use super::connection::{Ended, Known, Voice, reach, showed};
use crate::config::Ftp;
use crate::limit::Place;
use crate::stream::{Counted, End, canonical};

/// Lets the guard know, and relays until the gate closes; says how it ended.
pub(super) async fn serve(known: &Known, door: &Door, ftp: &Ftp, client: TcpStream, place: Place) -> Ended {
    let recorded = match known.opening(door).await {
        Ok(recorded) => Arc::new(recorded),
        Err(ended) => return ended,
    };
    // Before anything large is there, which would be kept twice.
    let refusal_time = door.guard.refusal_time().await;
    let session = known.session();
    if door.host.ftp_tls.is_some() {
        // The relay does the handshakes, of which a session has several; without one there is no host connection.
        session.set_host_tls(Some("TLS".to_owned()));
    }
    let source = known.peer.source;
    let Ok(local) = client.local_addr() else {
        return ("client", "gone before its first command".to_owned());
    };
    let counted = |stream, end| Counted { stream, session: Arc::clone(session), end };
    let client =
        Connection { stream: counted(Socket::new(client), End::Client), local: canonical(local), peer: source };
    let dial = || async {
        // A host that is connected to says its greeting meanwhile; nobody hears it before the audit knows of the connection.
        let reached = reach(&door.host.ftp_address, door.limits.host_connect);
        let (stream, is_recorded) = tokio::join!(reached, recorded.wait());
        if !is_recorded {
            return Err(io::Error::other("the audit does not know of the connection"));
        }
        let stream = stream.inspect_err(|error| {
            let (host, address) = (&door.host.name, &door.host.ftp_address);
            tracing::warn!(connection = %known.peer.connection, %host, %address, %error, "host not reached");
        })?;
        let Connection { stream, local, peer } = Connection::new(stream)?;
        Ok(Connection { stream: counted(stream, End::Host), local, peer })
    };
    let voice = known.voice(door, place, Some(&recorded));
    let mut gate = Gate::new(Arc::clone(&ftp.gate), source.ip(), door.system.instant());
    gate.refuse_after(refusal_time);
    let outcome = relay::run(
        client,
        dial,
        gate,
        means(known, door, ftp),
        |question| {
            let (voice, recorded) = (Arc::clone(&voice), Arc::clone(&recorded));
            async move {
                if recorded.wait().await {
                    voice.ask(question).await
                } else {
                    Verdict::Refuse { notice: Notice::Unavailable, close: true }
                }
            }
        },
        |report| Voice::tell(&voice, report),
        session.ended(),
    )
    .await;
    voice.settled().await;
    let how = format!("{}; {} bytes to the client, {} to the host", outcome.close, outcome.to_client, outcome.to_host);
    (why(outcome.close), how)
}

/// Why a connection ended, in one of a few words.
const fn why(close: gate::Close) -> &'static str {
    match close {
        gate::Close::Client => "client",
        gate::Close::Host => "host",
        gate::Close::Refused => "refused",
        gate::Close::Exhausted => "exhausted",
        gate::Close::Timeout(_) => "timeout",
        gate::Close::Malformed(..) => "malformed",
        gate::Close::Forbidden(_) => "forbidden",
        gate::Close::Unavailable(_) => "unavailable",
        gate::Close::Ended => "ended",
        gate::Close::Fault(_) => "fault",
    }
}

fn means(known: &Known, door: &Door, ftp: &Ftp) -> Means {
    let may_have_tls = ftp.gate.client_tls != gate::ClientTls::Off;
    let client_tls = door.tls.as_ref().filter(|_| may_have_tls);
    let (system, peer, session) = (door.system.clone(), Arc::clone(&known.peer), Arc::clone(known.session()));
    Means {
        client_tls: client_tls.map(|config| ClientTls::new(config, ftp.requires_reuse)),
        host_tls: door.host.ftp_tls.clone(),
        data: Arc::clone(&ftp.data),
        dice: Box::new(move |bytes| system.fill(bytes).map_err(io::Error::other)),
        secured: Box::new({
            let session = Arc::clone(&session);
            move |connection| showed(&peer, &session, connection)
        }),
        moved: Box::new(move |to_client, to_host| {
            session.transfers.fetch_add(1, Ordering::Relaxed);
            session.host_bytes.fetch_add(to_client, Ordering::Relaxed);
            session.client_bytes.fetch_add(to_host, Ordering::Relaxed);
        }),
    }
}
