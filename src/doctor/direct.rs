//! Whether a host can be reached past the gateway. It is run where a client is: the gateway itself has to reach the host.
//!
//! Only connects, says nothing, and to the one host that is named: each door once, [`TIME_MAX`] each.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long a door may take to answer.
const TIME_MAX: Duration = Duration::from_secs(1);

/// A port of an IBM i that lets people in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Door {
    /// The port.
    pub port: u16,
    /// What is behind it.
    pub what: &'static str,
    /// Whether the gateway guards this service, so that nobody needs it past the gateway.
    pub is_guarded: bool,
}

const fn guarded(port: u16, what: &'static str) -> Door {
    Door { port, what, is_guarded: true }
}

const fn other(port: u16, what: &'static str) -> Door {
    Door { port, what, is_guarded: false }
}

/// The doors, as IBM i has them when nobody moved them.
pub const DOORS: &[Door] = &[
    guarded(23, "Telnet"),
    guarded(992, "Telnet with TLS"),
    guarded(21, "FTP"),
    guarded(990, "FTP with TLS"),
    guarded(20, "FTP data"),
    other(22, "SSH, SFTP"),
    other(445, "NetServer (SMB)"),
    other(446, "DDM, DRDA"),
    other(447, "DDM"),
    other(448, "DDM, DRDA with TLS"),
    other(449, "host servers: port mapper"),
    other(8470, "host servers: licence"),
    other(8471, "host servers: database"),
    other(8472, "host servers: data queues"),
    other(8473, "host servers: files"),
    other(8474, "host servers: printing"),
    other(8475, "host servers: remote commands"),
    other(8476, "host servers: sign-on"),
    other(9470, "host servers with TLS: licence"),
    other(9471, "host servers with TLS: database"),
    other(9472, "host servers with TLS: data queues"),
    other(9473, "host servers with TLS: files"),
    other(9474, "host servers with TLS: printing"),
    other(9475, "host servers with TLS: remote commands"),
    other(9476, "host servers with TLS: sign-on"),
    other(2001, "HTTP administration"),
    other(2010, "HTTP administration with TLS"),
];

/// How a door answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opening {
    /// A connection came about.
    Open,
    /// It was refused: the host can be reached, and nobody listens, or a firewall says no.
    Refused,
    /// Nothing came back.
    Silent,
}

/// Tries `doors` of `host`; how each answered, in their order.
pub async fn probe(host: IpAddr, doors: &[Door]) -> Vec<(Door, Opening)> {
    let mut trying = JoinSet::new();
    for (index, door) in doors.iter().copied().enumerate() {
        trying.spawn(async move { (index, door, knock(SocketAddr::new(host, door.port)).await) });
    }
    let mut answers = trying.join_all().await;
    answers.sort_by_key(|(index, ..)| *index);
    answers.into_iter().map(|(_, door, opening)| (door, opening)).collect()
}

async fn knock(address: SocketAddr) -> Opening {
    match tokio::time::timeout(TIME_MAX, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Opening::Open,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Opening::Refused,
        Ok(Err(_)) | Err(_) => Opening::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn open_doors_are_found() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().port();
        let closed = {
            let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap().port()
        };
        let found = probe("127.0.0.1".parse().unwrap(), &[guarded(closed, "a"), other(open, "b")]).await;
        assert_eq!(found, [(guarded(closed, "a"), Opening::Refused), (other(open, "b"), Opening::Open)]);
        let mut ports: Vec<_> = DOORS.iter().map(|door| door.port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), DOORS.len());
    }
}
