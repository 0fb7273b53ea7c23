//! What the unit tests of several modules need: a folder that goes away with the test, and a mail relay.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use policy::Secret;
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

/// How a [`Relay`] behaves.
#[derive(Clone)]
pub(crate) enum Manner {
    /// Takes everything, in the clear.
    Plain,
    /// Takes everything after this user name and password.
    Login(&'static str, &'static str),
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
            from: "Sallyport <gateway@example.com>".to_owned(),
            reply_to: None,
            timeout: Duration::from_secs(5),
            ca_file: None,
        }
    }

    /// All mails taken so far.
    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }

    /// The passcode in the newest mail.
    pub(crate) fn passcode(&self) -> Secret<String> {
        let mails = self.mails();
        let text = &mails.last().expect("a mail was sent").text;
        let line = text.lines().find(|line| line.starts_with("    ")).expect("a line with the passcode");
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
        Manner::Plain | Manner::Login(..) | Manner::Refusing(_) | Manner::StartTls(_) => stream,
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
            ("MAIL", Manner::Login(..)) if mail.login.is_none() => "530 authenticate",
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
                "250 taken"
            }
            ("QUIT", _) => "221 bye",
            ("MAIL" | "NOOP" | "RSET", _) => "250 ok",
            _ => "500 what",
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
    }
}
