//! A RADIUS client, RFC 2865, so that a service which many companies have (NPS with Entra, Okta, Duo, SecurID) is the factor.
//!
//! ```text
//!   Access-Request    Message-Authenticator first, User-Name, User-Password (hidden), NAS-Identifier, ...      ──▶
//!                                                  ◀──  Access-Accept | Access-Reject | Access-Challenge (State, Reply-Message)
//! ```
//!
//! Sources: RFC 2865; RFC 2869 section 5.14 (Message-Authenticator); CVE-2024-3596 (Blast-RADIUS), because of which a reply
//! without a Message-Authenticator counts as no reply.
//!
//! Invariants: a reply counts only if it comes from the server's address and port to the port that this request was sent from,
//! has the request's identifier, and a Message-Authenticator and a Response Authenticator that nobody makes without the
//! secret. Anything else is passed over, and the wait goes on. What no server answers is no consent.

pub mod packet;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use policy::Secret;
use tokio::net::UdpSocket;

use crate::audit::neutral;
use crate::config;
use crate::system::System;
use packet::{HEADER, PACKET_MAX, VALUE_MAX};

/// The most bytes of a password (section 5.2).
const PASSWORD_MAX: usize = 128;
/// The most characters of a server's text that are shown.
const TEXT_MAX: usize = 200;

const ACCESS_REQUEST: u8 = 1;
const ACCESS_ACCEPT: u8 = 2;
const ACCESS_REJECT: u8 = 3;
const ACCESS_CHALLENGE: u8 = 11;

const USER_NAME: u8 = 1;
const USER_PASSWORD: u8 = 2;
const SERVICE_TYPE: u8 = 6;
const REPLY_MESSAGE: u8 = 18;
const STATE: u8 = 24;
const CALLING_STATION_ID: u8 = 31;
const NAS_IDENTIFIER: u8 = 32;
const MESSAGE_AUTHENTICATOR: u8 = 80;

/// Authenticate-Only: no more than a yes or no is wanted.
const AUTHENTICATE_ONLY: [u8; 4] = [0, 0, 0, 8];

/// A server.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its name or IP address.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// What it and we share.
    pub secret: Secret<String>,
    /// How long each try waits for a reply.
    pub timeout: Duration,
    /// How often a request is sent.
    pub tries: u32,
}

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The servers, in the order in which they are asked.
    pub servers: Vec<Server>,
    /// Who we are there.
    pub nas_identifier: String,
    /// The form of user names there: `{user}` and `{user-lower}` stand for the user.
    pub user_name: String,
}

impl Settings {
    /// What the configuration says; `secrets` are those of its servers, in order.
    #[must_use]
    pub fn from_config(radius: &config::Radius, secrets: Vec<Secret<String>>) -> Self {
        let servers = radius.servers.iter().zip(secrets).map(|(server, secret)| Server {
            name: server.address.name.clone(),
            port: server.address.port,
            secret,
            timeout: server.timeout,
            tries: server.tries,
        });
        Self {
            servers: servers.collect(),
            nas_identifier: radius.nas_identifier.to_string(),
            user_name: radius.user_name.clone(),
        }
    }
}

/// Asks servers. Clones share nothing that changes.
#[derive(Debug, Clone)]
pub struct Client {
    settings: Arc<Settings>,
    system: System,
}

/// What to ask.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The user, as the server knows the user; see [`Client::name`].
    pub user: &'a str,
    /// What the user keyed; may be empty, which makes some servers send a challenge.
    pub password: &'a Secret<String>,
    /// Where the user comes from.
    pub source: Option<IpAddr>,
    /// What the server gave with its challenge.
    pub state: Option<&'a State>,
}

/// What a server wants back with the answer to its challenge, and which server that was.
#[derive(Debug, Clone)]
pub struct State {
    server: usize,
    bytes: Option<Secret<Vec<u8>>>,
}

/// What came of asking.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Right.
    Accept,
    /// Wrong.
    Reject,
    /// The server wants to know more.
    Challenge {
        /// To be given with the answer.
        state: State,
        /// What to show the user; fit for a screen, may be empty.
        text: String,
    },
    /// No server gave a reply that counts.
    Unreachable,
}

impl Client {
    /// A client.
    #[must_use]
    pub fn new(settings: Settings, system: System) -> Self {
        Self { settings: Arc::new(settings), system }
    }

    /// The name of `user` at the servers.
    #[must_use]
    pub fn name(&self, user: &str) -> String {
        self.settings.user_name.replace("{user-lower}", &user.to_lowercase()).replace("{user}", user)
    }

    /// Asks the servers in order until one replies, or fifty seconds are over; with a state, only the one it came from.
    pub async fn ask(&self, request: Request<'_>) -> Outcome {
        tokio::time::timeout(config::Radius::ASK_MAX, self.ask_all(request)).await.unwrap_or_else(|_| {
            tracing::warn!(
                seconds = config::Radius::ASK_MAX.as_secs(),
                "no RADIUS server gave a reply in the time for all of them"
            );
            Outcome::Unreachable
        })
    }

    async fn ask_all(&self, request: Request<'_>) -> Outcome {
        if request.password.expose().len() > PASSWORD_MAX || !(1..=VALUE_MAX).contains(&request.user.len()) {
            return Outcome::Reject;
        }
        for (number, server) in self.settings.servers.iter().enumerate() {
            if request.state.is_some_and(|state| state.server != number) {
                continue;
            }
            match self.ask_one(server, &request).await {
                Ok(Some(reply)) => return outcome(&reply, number),
                Ok(None) => tracing::warn!(server = server.name, port = server.port, "the RADIUS server gave no reply"),
                Err(error) => tracing::warn!(server = server.name, port = server.port, %error, "RADIUS"),
            }
        }
        Outcome::Unreachable
    }

    /// Sends the request, again where nothing comes, and gives the reply that counts.
    async fn ask_one(&self, server: &Server, request: &Request<'_>) -> std::io::Result<Option<Vec<u8>>> {
        // A name server that is silent must not take longer than a RADIUS server that is.
        let Ok(address) = tokio::time::timeout(server.timeout, resolve(server)).await else { return Ok(None) };
        let address = address?;
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        // A port of its own for each request; connected, so that the system takes datagrams from the server only.
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        let mut random = [0; 17];
        self.system.fill(&mut random).map_err(std::io::Error::other)?;
        let [identifier, authenticator @ ..] = random;
        let Some(sent) = write(server, &self.settings.nas_identifier, request, identifier, authenticator) else {
            return Ok(None);
        };
        for _ in 0..server.tries {
            // Unchanged, with its identifier: a server that had it already repeats its reply (section 2.5).
            if let Err(error) = socket.send(&sent).await {
                // What came back for the last one (port unreachable) is told here.
                tracing::debug!(server = server.name, %error, "RADIUS");
            }
            let waited = tokio::time::timeout(server.timeout, receive(&socket, server, identifier, authenticator));
            if let Ok(reply) = waited.await {
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }
}

/// Waits for the reply that counts.
async fn receive(socket: &UdpSocket, server: &Server, identifier: u8, authenticator: [u8; 16]) -> Vec<u8> {
    let mut buffer = vec![0; PACKET_MAX];
    loop {
        let Ok(length) = socket.recv(&mut buffer).await else {
            // Nobody listens there now; the next try may find somebody.
            std::future::pending::<()>().await;
            continue;
        };
        let datagram = buffer.get(..length).unwrap_or_default();
        if is_genuine(datagram, identifier, authenticator, &server.secret) {
            return datagram.to_vec();
        }
        tracing::warn!(server = server.name, "a RADIUS reply that is not the server's own was passed over");
    }
}

/// Whether `datagram` is the reply to the request with this identifier and authenticator, by somebody with the secret.
fn is_genuine(datagram: &[u8], identifier: u8, request: [u8; 16], secret: &Secret<String>) -> bool {
    let Some(reply) = packet::parse(datagram) else { return false };
    if reply.identifier != identifier || !matches!(reply.code, ACCESS_ACCEPT | ACCESS_REJECT | ACCESS_CHALLENGE) {
        return false;
    }
    // Response Authenticator (section 3): MD5 of the reply with the request's authenticator, and the secret.
    let mut bytes = reply.bytes.to_vec();
    bytes.splice(4..HEADER, request);
    let expected = Md5::new().chain_update(&bytes).chain_update(secret.expose().as_bytes()).finalize();
    if !equal(&expected, &reply.authenticator) {
        return false;
    }
    let mut marks = reply.attributes.iter().filter(|attribute| attribute.kind == MESSAGE_AUTHENTICATOR);
    let (Some(mark), None) = (marks.next(), marks.next()) else { return false };
    if mark.value.len() != 16 {
        return false;
    }
    bytes.splice(mark.at..mark.at + 16, [0; 16]);
    equal(&message_authenticator(&bytes, secret), mark.value)
}

/// What a reply that counts says.
fn outcome(reply: &[u8], server: usize) -> Outcome {
    let Some(reply) = packet::parse(reply) else { return Outcome::Unreachable };
    match reply.code {
        ACCESS_ACCEPT => Outcome::Accept,
        ACCESS_CHALLENGE => {
            let mut said = Vec::new();
            reply.values(REPLY_MESSAGE).for_each(|value| said.extend_from_slice(value));
            let text: String = String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" ");
            let text = neutral(&text).chars().take(TEXT_MAX).collect();
            let bytes = reply.values(STATE).next().map(|value| Secret::new(value.to_vec()));
            Outcome::Challenge { state: State { server, bytes }, text }
        }
        _ => Outcome::Reject,
    }
}

fn write(
    server: &Server,
    nas_identifier: &str,
    request: &Request<'_>,
    identifier: u8,
    authenticator: [u8; 16],
) -> Option<Vec<u8>> {
    let hidden = hide(request.password, authenticator, &server.secret);
    let source = request.source.map(|source| source.to_canonical().to_string());
    let mut attributes: Vec<(u8, &[u8])> = vec![
        // First, so that no prefix of the packet can be made to fit a reply of somebody else's.
        (MESSAGE_AUTHENTICATOR, &[0; 16]),
        (USER_NAME, request.user.as_bytes()),
        (USER_PASSWORD, hidden.expose()),
        (SERVICE_TYPE, &AUTHENTICATE_ONLY),
        (NAS_IDENTIFIER, nas_identifier.as_bytes()),
    ];
    attributes.extend(source.as_ref().map(|source| (CALLING_STATION_ID, source.as_bytes())));
    let state = request.state.and_then(|state| state.bytes.as_ref());
    attributes.extend(state.map(|state| (STATE, state.expose().as_slice())));
    let mut bytes = packet::write(ACCESS_REQUEST, identifier, authenticator, &attributes)?;
    let mark = message_authenticator(&bytes, &server.secret);
    bytes.splice(HEADER + 2..HEADER + 18, mark);
    Some(bytes)
}

/// Hides a password (section 5.2): each 16 bytes are laid over with MD5(secret, what was hidden before).
fn hide(password: &Secret<String>, authenticator: [u8; 16], secret: &Secret<String>) -> Secret<Vec<u8>> {
    let plain = password.expose().as_bytes();
    let length = plain.len().next_multiple_of(16).max(16);
    let mut hidden = Vec::with_capacity(length);
    hidden.extend_from_slice(plain);
    hidden.resize(length, 0);
    let mut before = authenticator;
    for block in hidden.chunks_mut(16) {
        let mask = Md5::new().chain_update(secret.expose().as_bytes()).chain_update(before).finalize();
        block.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        before.copy_from_slice(block);
    }
    Secret::new(hidden)
}

fn message_authenticator(bytes: &[u8], secret: &Secret<String>) -> [u8; 16] {
    // HMAC takes keys of any length.
    Hmac::<Md5>::new_from_slice(secret.expose().as_bytes())
        .map(|mac| mac.chain_update(bytes).finalize().into_bytes().into())
        .unwrap_or_default()
}

fn equal(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

async fn resolve(server: &Server) -> std::io::Result<SocketAddr> {
    let mut found = tokio::net::lookup_host((server.name.as_str(), server.port)).await?;
    found.next().ok_or_else(|| std::io::Error::other("the name has no address"))
}

#[cfg(test)]
pub(crate) mod tests;
