//! E-mail by SMTP (RFC 5321), in the clear, by STARTTLS (RFC 3207), or over TLS from the start (RFC 8314), with or without
//! authentication, by password or by an access token (XOAUTH2).
//!
//! Before a message is handed over the connection is tried (NOOP), so that a relay that does not answer has certainly not
//! been given anything. What fails without the relay's word after that may have arrived. TLS is never optional where it is configured: a relay that does not offer STARTTLS gets no message and no password.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Body, Mailbox};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls as ClientTls, TlsParameters};
use lettre::transport::smtp::{self, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use policy::Secret;

use super::oauth::{OAuthSettings, Tokens};
use super::{Error, Message};

/// How many connections to the relay are kept or used at once.
const CONNECTIONS_MAX: u32 = 8;
/// How long an unused connection to the relay is kept.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Which part of the time limit reaching the relay may take; handing over has the rest.
const CONNECT_SHARE: f64 = 0.5;

/// How the connection to the relay is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Tls {
    /// Not at all: for a relay on the same machine.
    None,
    /// By STARTTLS, usually on port 587 or 25.
    #[default]
    StartTls,
    /// From the first byte, usually on port 465.
    Implicit,
}

/// The mail relay.
#[derive(Debug, Clone)]
pub struct SmtpSettings {
    /// Its name or address; with TLS, its certificate must carry it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
    /// The name to authenticate with; `None`: no authentication.
    pub username: Option<String>,
    /// The password to authenticate with.
    pub password: Option<Secret<String>>,
    /// Where the access token comes from, instead of a password.
    pub oauth: Option<OAuthSettings>,
    /// The sender: `Sallyport <gateway@example.com>`.
    pub from: String,
    /// Where replies go.
    pub reply_to: Option<String>,
    /// How long handing over one message may take.
    pub timeout: Duration,
    /// The certificates of the authorities to trust, PEM; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
}

/// Hands messages over to the mail relay. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Mailer(Option<Relay>);

type Transport = AsyncSmtpTransport<Tokio1Executor>;

#[derive(Debug, Clone)]
struct Relay {
    name: Arc<str>,
    connections: Connections,
    from: Mailbox,
    reply_to: Option<Mailbox>,
    timeout: Duration,
}

/// How connections to the relay are made.
#[derive(Debug, Clone)]
enum Connections {
    /// Always in the same way.
    Fixed(Transport),
    /// Each with the access token of the moment; those made with an older one are given up.
    Token { settings: Arc<SmtpSettings>, tokens: Tokens, latest: Arc<tokio::sync::Mutex<Option<(u64, Transport)>>> },
}

impl Mailer {
    /// A mailer for `settings`. Nothing is connected yet.
    ///
    /// # Errors
    /// Where an address, the file of certificates, or the combination makes no sense.
    pub fn new(settings: &SmtpSettings) -> Result<Self, Error> {
        let credentials = match (&settings.username, &settings.password) {
            (Some(username), Some(password)) => Some(Credentials::new(username.clone(), password.expose().clone())),
            (None, None) => None,
            (Some(_), None) => return Err(Error::Settings("a user name needs a password".to_owned())),
            (None, Some(_)) => return Err(Error::Settings("a password needs a user name".to_owned())),
        };
        let connections = match &settings.oauth {
            None => Connections::Fixed(transport(settings, credentials.map(|login| (login, None)))?),
            Some(_) if credentials.is_some() => {
                return Err(Error::Settings("a password or an access token, not both".to_owned()));
            }
            Some(oauth) => Connections::Token {
                settings: Arc::new(settings.clone()),
                tokens: Tokens::new(oauth.clone())?,
                latest: Arc::default(),
            },
        };
        // What cannot work is told at once, not with the first passcode.
        tls(settings)?;
        Ok(Self(Some(Relay {
            name: format!("smtp {}:{}", settings.host, settings.port).into(),
            connections,
            from: mailbox("from", &settings.from)?,
            reply_to: settings.reply_to.as_deref().map(|address| mailbox("reply_to", address)).transpose()?,
            timeout: settings.timeout,
        })))
    }

    /// A mailer without a relay: every message fails with [`Error::NotConfigured`].
    #[must_use]
    pub const fn without_relay() -> Self {
        Self(None)
    }

    /// The relay's name in the records of its health.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or("smtp", |relay| &relay.name)
    }

    /// How long a message may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |relay| relay.timeout)
    }

    /// Connects to the relay as for a message: TLS, user name and password, but nothing is sent.
    ///
    /// # Errors
    /// Where the relay does not take us within the time limit.
    pub async fn test(&self) -> Result<(), Error> {
        let relay = self.0.as_ref().ok_or(Error::NotConfigured)?;
        let ready = tokio::time::timeout(relay.timeout, relay.connections.ready()).await;
        ready.unwrap_or(Err(Error::Unanswered)).map(drop)
    }

    /// Hands `message` for `address` over to the relay.
    ///
    /// # Errors
    /// Where the relay has not taken it within the time limit.
    pub async fn send(&self, address: &str, message: &Message) -> Result<(), Error> {
        let relay = self.0.as_ref().ok_or(Error::NotConfigured)?;
        let to = address.parse::<lettre::Address>().map_err(|_| Error::Address)?;
        let own = |text: &str, set: &Option<Mailbox>| match text {
            "" => Ok(set.clone()),
            text => mailbox("sender", text).map(Some),
        };
        let from = own(&message.from, &Some(relay.from.clone()))?.unwrap_or_else(|| relay.from.clone());
        let mut builder = lettre::Message::builder()
            .from(from)
            .to(Mailbox::new(None, to))
            .subject(message.subject.as_str())
            .message_id(None)
            .header(ContentType::TEXT_PLAIN);
        if let Some(reply_to) = own(&message.reply_to, &relay.reply_to)? {
            builder = builder.reply_to(reply_to);
        }
        let body = Body::new(message.body.expose().clone());
        let mail = builder.body(body).map_err(|error| Error::Settings(error.to_string()))?;
        let patience = relay.timeout.mul_f64(CONNECT_SHARE);
        let transport =
            tokio::time::timeout(patience, relay.connections.ready()).await.map_err(|_| Error::Unanswered)??;
        // The connection that was tried goes back to the others in a task of its own.
        tokio::task::yield_now().await;
        match tokio::time::timeout(relay.timeout.saturating_sub(patience), transport.send(mail)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() || error.is_transient() => Err(explain(&error)),
            Ok(Err(error)) if !error.is_timeout() => Err(Error::Broken(words(&error))),
            Ok(Err(_)) | Err(_) => Err(Error::Slow),
        }
    }
}

impl Connections {
    /// A connection that was tried.
    async fn ready(&self) -> Result<Transport, Error> {
        let transport = self.transport().await?;
        match transport.test_connection().await {
            Ok(true) => Ok(transport),
            Ok(false) => Err(Error::Unreachable("it ended the connection".to_owned())),
            Err(error) if error.is_timeout() => Err(Error::Unanswered),
            Err(error) => Err(explain(&error)),
        }
    }

    async fn transport(&self) -> Result<Transport, Error> {
        match self {
            Self::Fixed(transport) => Ok(transport.clone()),
            Self::Token { settings, tokens, latest } => {
                let token = tokens.current().await?;
                let mut latest = latest.lock().await;
                if let Some((number, transport)) = &*latest
                    && *number == token.number
                {
                    return Ok(transport.clone());
                }
                let name = settings.oauth.as_ref().map(|oauth| oauth.username.clone()).unwrap_or_default();
                let login = Credentials::new(name, token.text.expose().clone());
                let transport = transport(settings, Some((login, Some(Mechanism::Xoauth2))))?;
                *latest = Some((token.number, transport.clone()));
                Ok(transport)
            }
        }
    }
}

fn transport(settings: &SmtpSettings, login: Option<(Credentials, Option<Mechanism>)>) -> Result<Transport, Error> {
    let mut builder = Transport::builder_dangerous(settings.host.as_str())
        .port(settings.port)
        .timeout(Some(settings.timeout))
        .tls(tls(settings)?)
        .pool_config(PoolConfig::new().max_size(CONNECTIONS_MAX).idle_timeout(IDLE_MAX));
    if let Some((credentials, mechanism)) = login {
        builder = builder.credentials(credentials);
        if let Some(mechanism) = mechanism {
            builder = builder.authentication(vec![mechanism]);
        }
    }
    Ok(builder.build())
}

/// What lettre says, without the words of a relay that could hold anything: replies are cut to their code.
fn explain(error: &smtp::Error) -> Error {
    if error.is_permanent() || error.is_transient() {
        let code = error.status().map_or_else(|| "no code".to_owned(), |code| format!("reply {code}"));
        // 530, 534, 535, 538 (RFC 4954): it is about us, not about the recipient.
        let is_ours = ["reply 530", "reply 534", "reply 535", "reply 538"].contains(&code.as_str());
        return match (error.is_permanent(), is_ours) {
            (true, true) => Error::Login(code),
            (true, false) => Error::Refused(code),
            (false, _) => Error::Unreachable(code),
        };
    }
    Error::Unreachable(words(error))
}

/// What went wrong on our side of the connection.
fn words(error: &smtp::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn mailbox(what: &str, text: &str) -> Result<Mailbox, Error> {
    text.parse().map_err(|_| Error::Settings(format!("{what}: expected `Name <name@example.com>`, found `{text}`")))
}

fn tls(settings: &SmtpSettings) -> Result<ClientTls, Error> {
    if settings.tls == Tls::None {
        return Ok(ClientTls::None);
    }
    let refused = |error: smtp::Error| Error::Settings(error.to_string());
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(path) = &settings.ca_file {
        let pem = std::fs::read(path).map_err(|error| Error::Settings(format!("{}: {error}", path.display())))?;
        let certificates = Certificate::from_pem(&pem).map_err(refused)?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificates);
    }
    let parameters = builder.build().map_err(refused)?;
    Ok(match settings.tls {
        Tls::Implicit => ClientTls::Wrapper(parameters),
        Tls::StartTls | Tls::None => ClientTls::Required(parameters),
    })
}

impl SmtpSettings {
    /// The settings that stand in the configuration; `secrets` were read from where it says.
    #[must_use]
    pub fn from_config(smtp: &crate::config::Smtp, secrets: &crate::config::RelaySecrets) -> Self {
        Self {
            host: smtp.host.clone(),
            port: smtp.port,
            tls: match smtp.tls {
                crate::config::SmtpTls::None => Tls::None,
                crate::config::SmtpTls::Starttls => Tls::StartTls,
                crate::config::SmtpTls::Implicit => Tls::Implicit,
            },
            username: smtp.login.as_ref().map(|login| login.username.clone()),
            password: secrets.password.clone(),
            oauth: smtp.oauth.as_ref().map(|oauth| OAuthSettings {
                username: oauth.username.clone(),
                token_url: oauth.token_url.clone(),
                client_id: oauth.client_id.clone(),
                client_secret: secrets.client_secret.clone(),
                refresh_token: secrets.refresh_token.clone(),
                scope: oauth.scope.clone(),
                ca_file: oauth.ca_file.as_ref().map(|name| name.path.clone()),
                timeout: smtp.timeout,
            }),
            from: smtp.from.to_string(),
            reply_to: smtp.reply_to.as_ref().map(ToString::to_string),
            timeout: smtp.timeout,
            ca_file: smtp.ca_file.as_ref().map(|name| name.path.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
