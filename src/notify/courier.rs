//! All the ways there are to hand over a message: mail relays in their order, SMS providers by name.

use std::time::Duration;

use policy::{ContactKind, Secret};

use super::email::{Mailer, SmtpSettings};
use super::sms::{self, Texter};
use super::{Error, Message};
use crate::config::{Config, Open};
use crate::system::Stopwatch;

/// A message with its recipient.
#[derive(Debug, Clone)]
pub struct Letter {
    /// To whom.
    pub to: Recipient,
    /// The sender of a mail; empty: as the configuration says.
    pub from: String,
    /// Where replies to a mail go, likewise.
    pub reply_to: String,
    /// The subject of a mail.
    pub subject: String,
    /// The text.
    pub text: Secret<String>,
}

/// To whom a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// To an address.
    Email(String),
    /// To a number in E.164, by a provider of that name; empty: the first one.
    Sms {
        /// The number.
        number: String,
        /// The provider.
        provider: String,
    },
}

impl Recipient {
    /// By which kind of contact.
    #[must_use]
    pub const fn kind(&self) -> ContactKind {
        match self {
            Self::Email(_) => ContactKind::Email,
            Self::Sms { .. } => ContactKind::Sms,
        }
    }
}

/// Why one relay or provider did not take a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A mail relay.
    #[error(transparent)]
    Mail(#[from] Error),
    /// An SMS provider.
    #[error(transparent)]
    Sms(#[from] sms::Error),
    /// There is no SMS provider.
    #[error("no SMS provider is configured: [[sms]] in the configuration")]
    NoProvider,
}

impl Failure {
    /// The code in the audit.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Mail(error) => error.code(),
            Self::Sms(error) => error.code(),
            Self::NoProvider => "sms-not-configured",
        }
    }

    /// Whether the message has certainly not reached anybody.
    #[must_use]
    pub const fn is_certain(&self) -> bool {
        match self {
            Self::Mail(error) => error.is_certain(),
            Self::Sms(error) => !matches!(error, sms::Error::Unclear(_)),
            Self::NoProvider => true,
        }
    }

    /// Whether another try at the same place may do better.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Mail(Error::Unreachable(_) | Error::Unanswered | Error::Token(_))
                | Self::Sms(sms::Error::Unreachable(_))
        )
    }

    /// Whether it is about the relay or provider, not about the recipient.
    #[must_use]
    pub const fn is_its_own(&self) -> bool {
        !matches!(self, Self::Mail(Error::Refused(_) | Error::Address) | Self::Sms(sms::Error::Refused(_)))
    }
}

/// What one relay or provider said.
#[derive(Debug)]
pub struct Said {
    /// Its name in the records of its health.
    pub provider: String,
    /// Whether it took the message.
    pub result: Result<(), Failure>,
    /// How long that took.
    pub time: Duration,
}

/// Mail relays and SMS providers, in order. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Couriers {
    relays: Vec<Mailer>,
    texters: Vec<Texter>,
}

/// How long whoever waits for a message waits: as long as the first way that it goes may take.
#[derive(Debug, Clone, Default)]
pub struct Waits {
    mail: Duration,
    /// By provider, in the order in which they are asked.
    sms: Vec<(String, Duration)>,
}

impl Waits {
    /// With one relay, and one provider where there is one.
    #[must_use]
    pub fn new(mail: Duration, sms: Option<Duration>) -> Self {
        Self { mail, sms: sms.map(|time| (String::new(), time)).into_iter().collect() }
    }

    /// Whether any provider takes SMS.
    #[must_use]
    pub fn has_sms(&self) -> bool {
        !self.sms.is_empty()
    }

    /// For a message to a contact of that kind: by the mail gateway of `carrier`, or by `provider`, where they are named.
    #[must_use]
    pub fn of(&self, kind: ContactKind, carrier: &str, provider: &str) -> Duration {
        if kind == ContactKind::Email || !carrier.is_empty() {
            return self.mail;
        }
        let named = self.sms.iter().find(|(name, _)| name == provider);
        named.or(self.sms.first()).map_or(Duration::ZERO, |(_, time)| *time)
    }
}

impl Couriers {
    /// Relays and providers, in the order in which they are asked.
    #[must_use]
    pub const fn new(relays: Vec<Mailer>, texters: Vec<Texter>) -> Self {
        Self { relays, texters }
    }

    /// Those of the configuration; `open` is what its files hold.
    ///
    /// # Errors
    /// Where one makes no sense.
    pub fn open(config: &Config, open: &Open) -> Result<Self, Failure> {
        let relays = std::iter::once(&config.smtp)
            .chain(&config.smtp_fallbacks)
            .zip(&open.relays)
            .map(|(relay, secrets)| Mailer::new(&SmtpSettings::from_config(relay, secrets)))
            .collect::<Result<_, _>>()?;
        let texters = open.sms.iter().cloned().map(Texter::new).collect::<Result<_, _>>()?;
        Ok(Self::new(relays, texters))
    }

    /// How long handing over one message may take, all ways together.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let mail: Duration = self.relays.iter().map(Mailer::timeout).sum();
        let text: Duration = self.texters.iter().map(Texter::timeout).sum();
        mail.max(text)
    }

    /// How long whoever waits for a message waits.
    #[must_use]
    pub fn waits(&self) -> Waits {
        Waits {
            mail: self.relays.first().map_or(Duration::ZERO, Mailer::timeout),
            sms: self.texters.iter().map(|texter| (texter.name().to_owned(), texter.timeout())).collect(),
        }
    }

    /// Whether there is a provider of that name.
    #[must_use]
    pub fn has_provider(&self, name: &str) -> bool {
        self.texters.iter().any(|texter| texter.name() == name)
    }

    /// Hands `letter` over: to the first that takes it, or until one may have taken it. What each said, in order; never
    /// nothing.
    pub async fn deliver(&self, letter: &Letter) -> Vec<Said> {
        match &letter.to {
            Recipient::Email(address) => self.mail(address, letter).await,
            Recipient::Sms { number, provider } => self.text(number, provider, letter).await,
        }
    }

    async fn mail(&self, address: &str, letter: &Letter) -> Vec<Said> {
        let Letter { from, reply_to, subject, text, .. } = letter.clone();
        let message = Message { from, reply_to, subject, body: text };
        let mut said = Vec::new();
        for relay in &self.relays {
            let begun = Stopwatch::start();
            let result = relay.send(address, &message).await.map_err(Failure::Mail);
            let over = result.as_ref().map_or_else(|failure| !failure.is_certain(), |()| true);
            said.push(Said { provider: relay.name().to_owned(), result, time: begun.elapsed() });
            if over {
                return said;
            }
        }
        if said.is_empty() {
            let result = Err(Failure::Mail(Error::NotConfigured));
            said.push(Said { provider: "smtp".to_owned(), result, time: Duration::ZERO });
        }
        said
    }

    async fn text(&self, number: &str, provider: &str, letter: &Letter) -> Vec<Said> {
        // The one that is named comes first; the others stand in for it.
        let (named, others): (Vec<_>, Vec<_>) = self.texters.iter().partition(|texter| texter.name() == provider);
        let mut said = Vec::new();
        for texter in named.into_iter().chain(others) {
            let begun = Stopwatch::start();
            let result = texter.send(number, &letter.text).await.map_err(Failure::Sms);
            let over = result.as_ref().map_or_else(|failure| !failure.is_certain(), |()| true);
            said.push(Said { provider: format!("sms {}", texter.name()), result, time: begun.elapsed() });
            if over {
                return said;
            }
        }
        if said.is_empty() {
            let result = Err(Failure::NoProvider);
            said.push(Said { provider: "sms".to_owned(), result, time: Duration::ZERO });
        }
        said
    }
}

impl Letter {
    /// One run of bytes, for sealing.
    #[must_use]
    pub fn to_bytes(&self) -> Secret<Vec<u8>> {
        let (kind, address, provider) = match &self.to {
            Recipient::Email(address) => ("email", address.as_str(), ""),
            Recipient::Sms { number, provider } => ("sms", number.as_str(), provider.as_str()),
        };
        let parts = [kind, address, provider, &self.from, &self.reply_to, &self.subject, self.text.expose()];
        // Room for all of it at once: a vector that grows leaves unwiped copies behind.
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
        for part in parts {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(0).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        Secret::new(bytes)
    }

    /// What [`Letter::to_bytes`] gave; `None`: it did not.
    #[must_use]
    pub fn from_bytes(bytes: &Secret<Vec<u8>>) -> Option<Self> {
        let mut rest = bytes.expose().as_slice();
        let mut next = || {
            let (length, tail) = rest.split_first_chunk()?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let (part, tail) = tail.split_at_checked(length)?;
            rest = tail;
            std::str::from_utf8(part).ok().map(str::to_owned)
        };
        let (kind, address, provider) = (next()?, next()?, next()?);
        let to = match kind.as_str() {
            "email" => Recipient::Email(address),
            "sms" => Recipient::Sms { number: address, provider },
            _ => return None,
        };
        Some(Self { to, from: next()?, reply_to: next()?, subject: next()?, text: Secret::new(next()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_waits_for_the_way_that_the_message_goes() {
        let second = Duration::from_secs;
        let waits =
            Waits { mail: second(10), sms: vec![("fast".to_owned(), second(5)), ("slow".to_owned(), second(60))] };
        for (kind, carrier, provider, expected) in [
            (ContactKind::Email, "", "", 10),
            (ContactKind::Sms, "", "", 5),
            (ContactKind::Sms, "", "slow", 60),
            (ContactKind::Sms, "", "gone", 5),
            (ContactKind::Sms, "tmobile", "", 10),
        ] {
            assert_eq!(waits.of(kind, carrier, provider), second(expected), "{kind} {carrier} {provider}");
        }
        // A carrier's gateway needs no provider.
        let waits = Waits::new(second(10), None);
        assert_eq!((waits.has_sms(), waits.of(ContactKind::Sms, "tmobile", "")), (false, second(10)));
    }
}
