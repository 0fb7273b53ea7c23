//! Has Yubico one-time passwords judged by validation servers: protocol version 2.0, Yubico's own service or one in the house.
//!
//! ```text
//!   GET url?id=CLIENT&nonce=NONCE&otp=OTP&timestamp=1[&h=SIGNATURE]
//!   otp=OTP  nonce=NONCE  status=OK  sessioncounter=19  sessionuse=17  t=...  h=SIGNATURE          one a line
//! ```
//!
//! A signature is the HMAC-SHA-1, in base64, of all other parameters sorted by name. Where an API key is configured, requests
//! are signed, and a reply without the right signature counts as none. `OK` counts only with the nonce and the password that
//! were sent. Servers are asked in order; the next one where one does not answer or has no opinion.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use policy::Secret;
use rustls::{ClientConfig, RootCertStore};

use super::yubikey::{Otp, counter_of};
use crate::config;
use crate::system::System;

/// The most bytes of a reply.
const REPLY_MAX: usize = 8 * 1024;

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The addresses of the servers, in the order in which they are asked.
    pub servers: Vec<String>,
    /// Who we are there.
    pub client_id: u32,
    /// The key for signatures.
    pub api_key: Option<Secret<Vec<u8>>>,
    /// How long a server may take.
    pub timeout: Duration,
    /// Whether all servers are on this machine, so that no proxy is asked on the way.
    pub is_local: bool,
}

impl Settings {
    /// What the configuration says.
    #[must_use]
    pub fn from_config(yubikey: &config::Yubikey, api_key: Option<Secret<Vec<u8>>>) -> Self {
        Self {
            servers: yubikey.servers.clone(),
            client_id: yubikey.client_id,
            api_key,
            timeout: yubikey.timeout,
            is_local: yubikey.is_local,
        }
    }
}

/// Asks servers.
#[derive(Debug, Clone)]
pub struct Client {
    settings: Arc<Settings>,
    http: reqwest::Client,
    system: System,
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// Right and new. With the counter, where the server tells it.
    Right(Option<u64>),
    /// It was used before.
    Replayed,
    /// It is none.
    Wrong,
    /// No server gave a reply that counts.
    Unreachable,
}

impl Client {
    /// A client that trusts `roots`.
    ///
    /// # Errors
    /// Where there is no such client.
    pub fn new(settings: Settings, roots: RootCertStore, system: System) -> Result<Self, reqwest::Error> {
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(settings.timeout)
            .redirect(reqwest::redirect::Policy::none());
        let http = if settings.is_local { builder.no_proxy() } else { builder }.build()?;
        Ok(Self { settings: Arc::new(settings), http, system })
    }

    /// Has `answer` judged.
    pub async fn judge(&self, answer: &Secret<String>) -> Judged {
        let Some(otp) = Otp::parse(answer) else { return Judged::Wrong };
        for server in &self.settings.servers {
            let Ok(nonce) = self.system.id() else { return Judged::Unreachable };
            match self.ask(server, &otp, &nonce).await {
                Ok(text) => match read(&text, &otp, &nonce, self.settings.api_key.as_ref()) {
                    Ok(judged) => return judged,
                    Err(why) => tracing::warn!(server, why, "the validation server's reply does not count"),
                },
                // Without the address: the password is part of it.
                Err(error) => {
                    tracing::warn!(server, error = %error.without_url(), "the validation server gave no reply")
                }
            }
        }
        Judged::Unreachable
    }

    async fn ask(&self, server: &str, otp: &Otp, nonce: &str) -> Result<Secret<String>, reqwest::Error> {
        let id = self.settings.client_id.to_string();
        let mut parameters =
            BTreeMap::from([("id", id.as_str()), ("nonce", nonce), ("otp", otp.text().expose()), ("timestamp", "1")]);
        let signature = self.settings.api_key.as_ref().map(|key| percent(&sign(key, &parameters)));
        parameters.extend(signature.as_ref().map(|signature| ("h", signature.as_str())));
        let url = Secret::new(format!("{server}?{}", joined(&parameters)));
        let mut reply = self.http.get(url.expose()).send().await?.error_for_status()?;
        let mut bytes = Vec::with_capacity(REPLY_MAX);
        while let Some(chunk) = reply.chunk().await? {
            let room = REPLY_MAX.saturating_sub(bytes.len());
            bytes.extend(chunk.iter().take(room));
        }
        Ok(Secret::new(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// What a reply says; or why it does not count.
fn read(
    text: &Secret<String>,
    otp: &Otp,
    nonce: &str,
    api_key: Option<&Secret<Vec<u8>>>,
) -> Result<Judged, &'static str> {
    let mut said: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.expose().lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once('=').ok_or("it is not in the form name=value")?;
        if said.insert(name, value).is_some() {
            return Err("it tells something twice");
        }
    }
    let signature = said.remove("h");
    if let Some(key) = api_key {
        let given = Secret::new(signature.unwrap_or_default().to_owned());
        if !Secret::new(sign(key, &said)).equals(&given) {
            return Err("its signature is wrong");
        }
    }
    match said.get("status").copied() {
        Some("OK") => {
            let echoed = said.get("otp").is_some_and(|echo| Secret::new((*echo).to_owned()).equals(otp.text()));
            if !echoed || said.get("nonce") != Some(&nonce) {
                return Err("it is about another password, or another question");
            }
            let number = |name: &str| said.get(name).and_then(|value| value.parse::<u16>().ok());
            let (uses, session) = (number("sessioncounter"), number("sessionuse"));
            let counter =
                uses.zip(session).map(|(uses, session)| counter_of(uses, u8::try_from(session).unwrap_or(u8::MAX)));
            Ok(Judged::Right(counter))
        }
        Some("REPLAYED_OTP") => Ok(Judged::Replayed),
        Some("BAD_OTP") => Ok(Judged::Wrong),
        Some("REPLAYED_REQUEST") => Err("it says that the question was asked before"),
        Some("BAD_SIGNATURE") => Err("it says that our signature is wrong: is api_key right?"),
        Some("NO_SUCH_CLIENT") => Err("it says that client_id is unknown"),
        Some("OPERATION_NOT_ALLOWED") => Err("it says that client_id may not ask"),
        Some("NOT_ENOUGH_ANSWERS") => Err("it could not ask enough of its own kind"),
        Some(_) => Err("it says that something went wrong there"),
        None => Err("it has no status"),
    }
}

/// The signature over `parameters`.
fn sign(key: &Secret<Vec<u8>>, parameters: &BTreeMap<&str, &str>) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.expose());
    data_encoding::BASE64.encode(hmac::sign(&key, joined(parameters).as_bytes()).as_ref())
}

fn joined(parameters: &BTreeMap<&str, &str>) -> String {
    parameters.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Base64 as it may stand in an address.
fn percent(base64: &str) -> String {
    base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::yubikey::software::YubiKey;
    use super::*;

    const KEY: &[u8] = b"twenty bytes of key.";

    fn key() -> Secret<Vec<u8>> {
        Secret::new(KEY.to_vec())
    }

    /// A server whose reply is what `reply` makes of what it was asked.
    async fn server(reply: impl Fn(BTreeMap<String, String>) -> String + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                        break;
                    }
                    request.push(byte[0]);
                }
                let request = String::from_utf8(request).unwrap();
                let query = request.split(['?', ' ']).nth(2).unwrap_or_default();
                let plain = |value: &str| value.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
                let asked = query
                    .split('&')
                    .map(|pair| pair.split_once('=').unwrap())
                    .map(|(name, value)| (name.to_owned(), plain(value)))
                    .collect();
                let body = reply(asked);
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        format!("http://{address}/wsapi/2.0/verify")
    }

    fn client(servers: Vec<String>, api_key: Option<Secret<Vec<u8>>>) -> Client {
        crate::tls::install_provider();
        let settings = Settings { servers, client_id: 7, api_key, timeout: Duration::from_secs(5), is_local: true };
        Client::new(settings, RootCertStore::empty(), System::new()).unwrap()
    }

    /// An honest reply with this status, signed.
    fn honest(asked: &BTreeMap<String, String>, status: &str) -> String {
        let mut said = BTreeMap::from([
            ("otp", asked["otp"].as_str()),
            ("nonce", asked["nonce"].as_str()),
            ("t", "2026-11-27T03:00:00Z0123"),
            ("status", status),
            ("sessioncounter", "19"),
            ("sessionuse", "17"),
            ("timestamp", "49712"),
            ("sl", "100"),
        ]);
        let signature = sign(&key(), &said);
        said.insert("h", &signature);
        said.iter().map(|(name, value)| format!("{name}={value}\r\n")).collect()
    }

    #[tokio::test]
    async fn what_the_server_says_counts() {
        for (status, judged) in [
            ("OK", Judged::Right(Some(counter_of(19, 17)))),
            ("BAD_OTP", Judged::Wrong),
            ("REPLAYED_OTP", Judged::Replayed),
            ("BACKEND_ERROR", Judged::Unreachable),
            ("NOT_ENOUGH_ANSWERS", Judged::Unreachable),
            ("NO_SUCH_CLIENT", Judged::Unreachable),
        ] {
            let server = server(move |asked| {
                assert_eq!((asked["id"].as_str(), asked["timestamp"].as_str()), ("7", "1"));
                let mut parameters: BTreeMap<&str, &str> =
                    asked.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                let signature = parameters.remove("h").unwrap();
                assert_eq!(signature, sign(&key(), &parameters), "the request is signed");
                honest(&asked, status)
            })
            .await;
            let client = client(vec![server], Some(key()));
            assert_eq!(client.judge(&YubiKey::new().press()).await, judged, "{status}");
        }
    }

    #[tokio::test]
    async fn a_reply_that_is_forged_or_about_something_else_does_not_count() {
        type Bend = fn(&BTreeMap<String, String>) -> String;
        let bends: [(&str, Bend, bool); 8] = [
            (
                "unsigned",
                |asked| {
                    honest(asked, "OK")
                        .lines()
                        .filter(|line| !line.starts_with("h="))
                        .fold(String::new(), |all, line| all + line + "\r\n")
                },
                true,
            ),
            ("wrongly signed", |asked| honest(asked, "OK").replace("sl=100", "sl=99"), true),
            ("no changed to yes", |asked| honest(asked, "BAD_OTP").replace("BAD_OTP", "OK"), true),
            ("twice", |asked| honest(asked, "BAD_OTP") + "status=OK\r\n", true),
            (
                "another nonce",
                |asked| {
                    honest(
                        &BTreeMap::from([("otp".into(), asked["otp"].clone()), ("nonce".into(), "0".repeat(32))]),
                        "OK",
                    )
                },
                true,
            ),
            (
                "another password",
                |asked| {
                    honest(
                        &BTreeMap::from([("otp".into(), "c".repeat(44)), ("nonce".into(), asked["nonce"].clone())]),
                        "OK",
                    )
                },
                false,
            ),
            ("no echo", |_| "status=OK\r\n".to_owned(), false),
            ("no lines", |_| "<html>OK</html>".to_owned(), false),
        ];
        for (name, bend, with_key) in bends {
            let forger = server(move |asked| bend(&asked)).await;
            let client = client(vec![forger], with_key.then(key));
            assert_eq!(client.judge(&YubiKey::new().press()).await, Judged::Unreachable, "{name}");
        }
    }

    #[tokio::test]
    async fn the_next_server_is_asked_where_one_is_no_use() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let broken = server(|asked| honest(&asked, "BACKEND_ERROR")).await;
        let good = server(|asked| honest(&asked, "OK")).await;
        let servers = vec![format!("http://{closed}/"), broken, good];
        let judged = client(servers, Some(key())).judge(&YubiKey::new().press()).await;
        assert_eq!(judged, Judged::Right(Some(counter_of(19, 17))));
        // What is no one-time password is not sent anywhere.
        assert_eq!(client(vec![], None).judge(&Secret::new("123456".to_owned())).await, Judged::Wrong);
        assert_eq!(client(vec![], None).judge(&YubiKey::new().press()).await, Judged::Unreachable);
    }
}
