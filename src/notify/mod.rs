//! Sends messages: what they say ([`template`]), and the ways they take: mail relays ([`email`]) and SMS providers ([`sms`]).
//!
//! Invariant: a message counts as sent only when a relay or a provider has taken it over. Whatever does not answer within the
//! time limit has not been sent, and nobody is let in on the strength of it; but where it may have been sent all the same,
//! it is not sent again. The next relay or provider gets a message only where the one before certainly did not take it.

pub mod courier;
pub mod email;
pub(crate) mod http;
pub mod oauth;
pub mod sms;
pub mod template;

use policy::Secret;

pub use courier::{Couriers, Failure, Letter, Recipient, Said, Waits};
pub use email::{Mailer, SmtpSettings, Tls};
pub use oauth::OAuthSettings;
pub use sms::{BodyForm, SmsKind, SmsSettings, Texter, TwilioSender};
pub use template::Template;

/// A mail.
#[derive(Debug, Clone)]
pub struct Message {
    /// The sender; empty: as the configuration says.
    pub from: String,
    /// Where replies go, likewise.
    pub reply_to: String,
    /// The subject. It holds no passcode: subjects stand on lock screens and in logs.
    pub subject: String,
    /// The body, lines ended by `\n`.
    pub body: Secret<String>,
}

/// Why a mail was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No relay is configured.
    #[error("no mail relay is configured: [smtp] in the configuration")]
    NotConfigured,
    /// The settings make no sense.
    #[error("mail settings: {0}")]
    Settings(String),
    /// The recipient's address cannot be used.
    #[error("the address is no e-mail address")]
    Address,
    /// The relay refused it for good.
    #[error("the mail relay refused the message: {0}")]
    Refused(String),
    /// The relay does not take our name or our password.
    #[error("the mail relay refused our login: {0}")]
    Login(String),
    /// There is no access token.
    #[error("there is no access token for the mail relay: {0}")]
    Token(String),
    /// The relay could not be reached, or refused it for now.
    #[error("the mail relay did not take the message: {0}")]
    Unreachable(String),
    /// The relay did not answer before anything was handed over.
    #[error("the mail relay did not answer in time")]
    Unanswered,
    /// The connection ended while the message was handed over. It may have been sent all the same.
    #[error("the connection to the mail relay broke: {0}")]
    Broken(String),
    /// The relay did not answer in time. The message may have been sent all the same.
    #[error("the mail relay did not answer in time; the message may have been sent")]
    Slow,
}

impl Error {
    /// The code in the audit.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotConfigured => "mail-not-configured",
            Self::Settings(_) => "mail-settings",
            Self::Address => "mail-address",
            Self::Refused(_) => "mail-refused",
            Self::Login(_) => "mail-login",
            Self::Token(_) => "mail-token",
            Self::Unreachable(_) => "mail-unreachable",
            Self::Broken(_) => "mail-broken",
            Self::Unanswered | Self::Slow => "mail-slow",
        }
    }

    /// Whether the message has certainly not reached anybody.
    #[must_use]
    pub const fn is_certain(&self) -> bool {
        !matches!(self, Self::Slow | Self::Broken(_))
    }
}

/// Whether `address` is an e-mail address that mail can be sent to.
#[must_use]
pub fn is_address(address: &str) -> bool {
    address.parse::<lettre::Address>().is_ok()
}

/// Whether `sender` can stand as the sender of mails: `name@example.com` or `Name <name@example.com>`.
#[must_use]
pub fn is_sender(sender: &str) -> bool {
    sender.parse::<lettre::message::Mailbox>().is_ok()
}
