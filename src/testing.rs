//! What the unit tests of several modules need: a folder that goes away with the test, a mail relay, and an HTTPS server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use policy::Secret;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::notify::{SmtpSettings, Tls};

/// A new folder, removed on drop.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder.
    pub(crate) fn new() -> Self {
        let id = crate::system::System::new().id().unwrap();
        let path = std::env::temp_dir().join(format!("sallyport-test-{id}"));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An authority's certificate in PEM, and an acceptor with a certificate of it for 127.0.0.1.
pub(crate) fn authority() -> (String, TlsAcceptor) {
    crate::tls::install_provider();
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = parameters.self_signed(&key).unwrap();
    let issuer = Issuer::new(parameters, key);
    let relay_key = KeyPair::generate().unwrap();
    let relay = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&relay_key, &issuer).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![relay.der().clone()], PrivateKeyDer::try_from(relay_key.serialize_der()).unwrap())
        .unwrap();
    (authority.pem(), TlsAcceptor::from(Arc::new(config)))
}

/// A request that an [`Https`] server got.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// Method and path.
    pub(crate) line: String,
    /// Header fields, names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: String,
}

impl Request {
    /// A header field's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The fields of a form, decoded.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        reqwest::Url::parse(&format!("https://x/?{}", self.body)).unwrap().query_pairs().into_owned().collect()
    }
}

/// What an [`Https`] server answers: status and body; nothing: it hangs up.
pub(crate) type Reply = Option<(u16, String)>;

/// An HTTPS server on a loopback port, one request per connection.
#[derive(Debug)]
pub(crate) struct Https {
    /// `https://127.0.0.1:PORT`
    pub(crate) url: String,
    /// The file of the authority's certificate.
    pub(crate) ca_file: PathBuf,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Https {
    /// Starts a server that answers as `reply` says; the authority's certificate goes into `folder`.
    pub(crate) async fn start(folder: &Folder, reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let (pem, acceptor) = authority();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ca_file = folder.path(&format!("https-{port}.pem"));
        std::fs::write(&ca_file, pem).unwrap();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (kept, reply) = (Arc::clone(&requests), Arc::new(reply));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, kept, reply) = (acceptor.clone(), Arc::clone(&kept), Arc::clone(&reply));
                tokio::spawn(async move {
                    let mut stream = BufReader::new(acceptor.accept(stream).await.ok()?);
                    let request = request(&mut stream).await?;
                    kept.lock().unwrap().push(request.clone());
                    let (status, body) = reply(&request)?;
                    let answer = format!(
                        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                         Connection: close\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(answer.as_bytes()).await.ok()?;
                    stream.shutdown().await.ok()
                });
            }
        });
        Self { url: format!("https://127.0.0.1:{port}"), ca_file, requests }
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

async fn request(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Request> {
    let mut request = Request::default();
    stream.read_line(&mut request.line).await.ok()?;
    request.line = request.line.trim_end().to_owned();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        request.headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    request.body = String::from_utf8(body).ok()?;
    Some(request)
}

/// How a [`Relay`] behaves.
#[derive(Clone)]
pub(crate) enum Manner {
    /// Takes everything, in the clear.
    Plain,
    /// Takes everything after this user name and password.
    Login(&'static str, &'static str),
    /// Takes everything after this user name and access token (XOAUTH2).
    Token(&'static str, &'static str),
    /// Takes the text of every mail and then says nothing any more.
    Swallowing,
    /// Refuses every recipient with this reply.
    Refusing(&'static str),
    /// Says nothing at all.
    Silent,
    /// Speaks TLS from the first byte.
    ImplicitTls(TlsAcceptor),
    /// Speaks TLS after STARTTLS.
    StartTls(TlsAcceptor),
}

/// A mail that a [`Relay`] took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mail {
    /// The recipient in the envelope.
    pub(crate) to: String,
    /// Header and body.
    pub(crate) text: String,
    /// Whether it came over TLS.
    pub(crate) secured: bool,
    /// What was said to authenticate.
    pub(crate) login: Option<String>,
}

/// A mail relay on a loopback port that keeps what it is given.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    address: SocketAddr,
    mails: Arc<Mutex<Vec<Mail>>>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Relay {
    /// Starts a relay.
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self { address: listener.local_addr().unwrap(), mails: Arc::default() };
        let mails = Arc::clone(&relay.mails);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Box::new(stream), manner.clone(), Arc::clone(&mails)));
            }
        });
        relay
    }

    /// Settings for a mailer that uses this relay in the clear.
    pub(crate) fn settings(&self) -> SmtpSettings {
        SmtpSettings {
            host: "127.0.0.1".to_owned(),
            port: self.address.port(),
            tls: Tls::None,
            username: None,
            password: None,
            oauth: None,
            from: "Sallyport <gateway@example.com>".to_owned(),
            reply_to: None,
            timeout: Duration::from_secs(5),
            ca_file: None,
        }
    }

    /// The code in the newest mail that confirms a contact.
    pub(crate) fn passcode_of_a_contact(&self) -> String {
        let mails = self.mails();
        let code = |text: &str| text.lines().find_map(|line| line.strip_prefix("    ").map(str::to_owned));
        mails.last().and_then(|mail| code(&mail.text)).expect("a code")
    }

    /// Waits until as many mails as `count` were taken.
    pub(crate) async fn wait_for(&self, count: usize) {
        let there = async {
            while self.mails().len() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), there).await.expect("the mails came");
    }

    /// All mails taken so far.
    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }

    /// The passcode in the newest mail.
    pub(crate) fn passcode(&self) -> Secret<String> {
        let mails = self.mails();
        // Alerts hold no passcode.
        let line = |text: &str| text.lines().find(|line| line.starts_with("    ")).map(str::to_owned);
        let line = mails.iter().rev().find_map(|mail| line(&mail.text)).expect("a mail with a passcode was sent");
        Secret::new(line.split_whitespace().nth(1).unwrap().to_owned())
    }
}

async fn serve(stream: Box<dyn Stream>, manner: Manner, mails: Arc<Mutex<Vec<Mail>>>) -> Option<()> {
    let mut secured = false;
    let mut stream = BufReader::new(match &manner {
        Manner::ImplicitTls(acceptor) => {
            secured = true;
            Box::new(acceptor.accept(stream).await.ok()?) as Box<dyn Stream>
        }
        Manner::Silent => {
            let mut stream = stream;
            let _ = stream.read_to_end(&mut Vec::new()).await;
            return None;
        }
        Manner::Plain
        | Manner::Login(..)
        | Manner::Token(..)
        | Manner::Swallowing
        | Manner::Refusing(_)
        | Manner::StartTls(_) => stream,
    });
    let mut mail = Mail::default();
    stream.write_all(b"220 relay\r\n").await.ok()?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let reply = match (verb.as_str(), &manner) {
            ("EHLO", Manner::StartTls(_)) if !secured => "250-relay\r\n250 STARTTLS",
            ("EHLO", Manner::Login(..)) => "250-relay\r\n250 AUTH PLAIN",
            ("EHLO", Manner::Token(..)) => "250-relay\r\n250 AUTH XOAUTH2",
            ("EHLO", _) => "250 relay",
            ("STARTTLS", Manner::StartTls(acceptor)) => {
                stream.write_all(b"220 go\r\n").await.ok()?;
                secured = true;
                stream = BufReader::new(Box::new(acceptor.accept(stream.into_inner()).await.ok()?));
                continue;
            }
            ("AUTH", Manner::Login(user, password)) => {
                let said = line.rsplit(' ').next()?;
                let said = data_encoding::BASE64.decode(said.as_bytes()).ok()?;
                if said == format!("\0{user}\0{password}").into_bytes() {
                    mail.login = Some((*user).to_owned());
                    "235 welcome"
                } else {
                    "535 no"
                }
            }
            ("AUTH", Manner::Token(user, token)) => {
                let said = line.strip_prefix("AUTH XOAUTH2 ")?;
                let said = data_encoding::BASE64.decode(said.as_bytes()).ok()?;
                if said == format!("user={user}\x01auth=Bearer {token}\x01\x01").into_bytes() {
                    mail.login = Some((*user).to_owned());
                    "235 welcome"
                } else {
                    "535 no"
                }
            }
            ("MAIL", Manner::Login(..) | Manner::Token(..)) if mail.login.is_none() => "530 authenticate",
            ("RCPT", Manner::Refusing(reply)) => *reply,
            ("RCPT", _) => {
                mail.to = line.split(['<', '>']).nth(1)?.to_owned();
                "250 ok"
            }
            ("DATA", _) => {
                stream.write_all(b"354 go\r\n").await.ok()?;
                let mut text = String::new();
                while !text.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut text).await.ok()? == 0 {
                        return None;
                    }
                }
                mails.lock().unwrap().push(Mail { text, secured, ..mail.clone() });
                if matches!(manner, Manner::Swallowing) {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                    return None;
                }
                "250 taken"
            }
            ("QUIT", _) => "221 bye",
            ("MAIL" | "NOOP" | "RSET", _) => "250 ok",
            _ => "500 what",
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
    }
}
