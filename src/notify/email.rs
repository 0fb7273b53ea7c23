//! E-mail by SMTP (RFC 5321), in the clear, by STARTTLS (RFC 3207), or over TLS from the start (RFC 8314), with or without authentication.
//!
//! TLS is never optional where it is configured: a relay that does not offer STARTTLS gets no message and no password.

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Body, Mailbox};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls as ClientTls, TlsParameters};
use lettre::transport::smtp::{self, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use policy::Secret;

use super::{Error, Message};

/// How many connections to the relay are kept or used at once.
const CONNECTIONS_MAX: u32 = 8;
/// How long an unused connection to the relay is kept.
const IDLE_MAX: Duration = Duration::from_secs(30);

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

#[derive(Debug, Clone)]
struct Relay {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    reply_to: Option<Mailbox>,
    timeout: Duration,
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
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(settings.host.as_str())
            .port(settings.port)
            .timeout(Some(settings.timeout))
            .tls(tls(settings)?)
            .pool_config(PoolConfig::new().max_size(CONNECTIONS_MAX).idle_timeout(IDLE_MAX));
        if let Some(credentials) = credentials {
            builder = builder.credentials(credentials);
        }
        Ok(Self(Some(Relay {
            transport: builder.build(),
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

    /// Connects to the relay as for a message: TLS, user name and password, but nothing is sent.
    ///
    /// # Errors
    /// Where the relay does not take us within the time limit.
    pub async fn test(&self) -> Result<(), Error> {
        let relay = self.0.as_ref().ok_or(Error::NotConfigured)?;
        match tokio::time::timeout(relay.timeout, relay.transport.test_connection()).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(Error::Unreachable("it closed the connection".to_owned())),
            Ok(Err(error)) => Err(explain(&error)),
            Err(_) => Err(Error::Slow),
        }
    }

    /// Hands `message` for `address` over to the relay.
    ///
    /// # Errors
    /// Where the relay has not taken it within the time limit.
    pub async fn send(&self, address: &str, message: &Message) -> Result<(), Error> {
        let relay = self.0.as_ref().ok_or(Error::NotConfigured)?;
        let to = address.parse::<lettre::Address>().map_err(|_| Error::Address)?;
        let mut builder = lettre::Message::builder()
            .from(relay.from.clone())
            .to(Mailbox::new(None, to))
            .subject(message.subject.as_str())
            .message_id(None)
            .header(ContentType::TEXT_PLAIN);
        if let Some(reply_to) = &relay.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        let body = Body::new(message.body.expose().clone());
        let mail = builder.body(body).map_err(|error| Error::Settings(error.to_string()))?;
        match tokio::time::timeout(relay.timeout, relay.transport.send(mail)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(explain(&error)),
            Err(_) => Err(Error::Slow),
        }
    }
}

/// What lettre says, without the words of a relay that could hold anything: replies are cut to their code.
fn explain(error: &smtp::Error) -> Error {
    if error.is_timeout() {
        return Error::Slow;
    }
    if error.is_permanent() || error.is_transient() {
        let code = error.status().map_or_else(|| "no code".to_owned(), |code| format!("reply {code}"));
        return if error.is_permanent() { Error::Refused(code) } else { Error::Unreachable(code) };
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    Error::Unreachable(text)
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
    /// The settings that stand in the configuration; `password` was read from where it says.
    #[must_use]
    pub fn from_config(smtp: &crate::config::Smtp, password: Option<Secret<String>>) -> Self {
        Self {
            host: smtp.host.clone(),
            port: smtp.port,
            tls: match smtp.tls {
                crate::config::SmtpTls::None => Tls::None,
                crate::config::SmtpTls::Starttls => Tls::StartTls,
                crate::config::SmtpTls::Implicit => Tls::Implicit,
            },
            username: smtp.login.as_ref().map(|login| login.username.clone()),
            password,
            from: smtp.from.to_string(),
            reply_to: smtp.reply_to.as_ref().map(ToString::to_string),
            timeout: smtp.timeout,
            ca_file: smtp.ca_file.as_ref().map(|name| name.path.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
