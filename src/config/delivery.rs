//! How messages are sent: mail relays and SMS providers, as the configuration describes them.

use std::time::Duration;

use lettre::message::Mailbox;
use policy::Secret;
use serde::Deserialize;

use super::FileName;
use crate::notify::{BodyForm, TwilioSender};

/// A mail relay.
#[derive(Debug)]
pub struct Smtp {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// The trusted certificates, instead of the system's.
    pub ca_file: Option<FileName>,
    /// Who we are there.
    pub login: Option<SmtpLogin>,
    /// Where access tokens come from, instead of a password.
    pub oauth: Option<OAuth>,
    /// The sender.
    pub from: Mailbox,
    /// Where replies go.
    pub reply_to: Option<Mailbox>,
    /// How long one mail may take.
    pub timeout: Duration,
}

/// How the connection to the mail relay is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SmtpTls {
    /// Not at all.
    None,
    /// TLS after `STARTTLS`, and no mail without it.
    Starttls,
    /// TLS from the first byte.
    Implicit,
}

/// A user name at the mail relay.
#[derive(Debug)]
pub struct SmtpLogin {
    /// The name.
    pub username: String,
    /// The password, or where it is.
    pub password: Password,
}

/// A password, or where it is.
#[derive(Debug, Clone)]
pub enum Password {
    /// In the configuration.
    Here(Secret<String>),
    /// In a file of its own, whose first line it is.
    File(FileName),
}

/// Where access tokens for a mail relay come from.
#[derive(Debug)]
pub struct OAuth {
    /// The mailbox that the token is for.
    pub username: String,
    /// The token endpoint.
    pub token_url: String,
    /// Who we are there.
    pub client_id: String,
    /// Our secret there.
    pub client_secret: Option<Password>,
    /// The refresh token; `None`: client credentials are enough.
    pub refresh_token: Option<Password>,
    /// What is asked for.
    pub scope: Option<String>,
    /// The trusted certificates, instead of the system's.
    pub ca_file: Option<FileName>,
}

/// A provider of text messages.
#[derive(Debug)]
pub struct Sms {
    /// Its name, by which contacts name it.
    pub name: String,
    /// How it is spoken with.
    pub how: SmsHow,
    /// What it knows us by.
    pub secret: Option<Password>,
    /// How long one message may take.
    pub timeout: Duration,
    /// The trusted certificates, instead of the system's.
    pub ca_file: Option<FileName>,
}

/// How a provider is spoken with.
#[derive(Debug)]
pub enum SmsHow {
    /// Twilio.
    Twilio {
        /// Its address.
        url: String,
        /// The account's SID.
        account: String,
        /// The account's SID, or that of an API key.
        username: String,
        /// By whom messages are sent.
        sender: TwilioSender,
    },
    /// Any other, from a template.
    Http {
        /// Where the request goes.
        url: String,
        /// `POST` or `PUT`.
        method: String,
        /// Header fields.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
        /// Its type.
        form: BodyForm,
        /// The statuses that say yes; none: any `2xx`.
        success: Vec<u16>,
    },
}

/// What was read for a mail relay from where the configuration says.
#[derive(Debug, Clone, Default)]
pub struct RelaySecrets {
    /// The password.
    pub password: Option<Secret<String>>,
    /// The secret at the token endpoint.
    pub client_secret: Option<Secret<String>>,
    /// The refresh token.
    pub refresh_token: Option<Secret<String>>,
}
