//! Sends passcodes: the texts of messages ([`text`]) and the way they take ([`email`]).
//!
//! Invariant: a message counts as sent only when the relay has taken it over. Whatever does not answer within the time
//! limit has not been sent, and nobody is let in on the strength of it.

pub mod email;
pub mod text;

pub use email::{Mailer, SmtpSettings, Tls};
pub use text::Message;

/// Why a message was not sent.
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
    /// The relay could not be reached, or refused it for now.
    #[error("the mail relay did not take the message: {0}")]
    Unreachable(String),
    /// The relay did not answer in time. The message may have been sent all the same.
    #[error("the mail relay did not answer in time")]
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
            Self::Unreachable(_) => "mail-unreachable",
            Self::Slow => "mail-slow",
        }
    }

    /// Whether the message has certainly not reached anybody.
    #[must_use]
    pub const fn is_certain(&self) -> bool {
        !matches!(self, Self::Slow)
    }
}

/// Whether `address` is an e-mail address that mail can be sent to.
#[must_use]
pub fn is_address(address: &str) -> bool {
    address.parse::<lettre::Address>().is_ok()
}
