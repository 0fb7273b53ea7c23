//! What a user can prove with besides a passcode that is sent: authenticator apps, tokens, YubiKeys, recovery codes, RADIUS.
//!
//! ```text
//!   store ──Record──▶ Judge ──Judgement──▶ store          judged without a change; used up in the transaction that lets in
//!           sealed            Right(Spend)    spend
//! ```
//!
//! Judging writes nothing. What it finds right is right only once the [`Spend`] that it gives was taken by the store: two
//! answers with one code are both found right, and one of them is then refused.
//!
//! Invariants: a secret is opened for the length of one judgement; what cannot be judged (a server that does not answer, a
//! secret that does not open) is no consent; a factor that is not confirmed judges nothing but its confirmation.

pub mod hotp;
pub mod radius;
pub mod recovery;
pub mod totp;
pub mod validation;
pub mod yubikey;

use std::net::IpAddr;

use jiff::Timestamp;
use policy::{Factor, Secret, User};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Open};
use crate::key::Key;
use crate::seal::{Place, SealError, Sealer};
use crate::system::System;

/// What secrets of factors are sealed for.
pub const SEALED_FOR: &str = "sallyport factor 1";
/// The column they stand in.
pub const SEALED_IN: &str = "factors.secret";
/// The longest label, in characters.
pub const LABEL_MAX: usize = 40;

/// How a factor works, all that is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Parameters {
    /// Codes by time.
    Totp(totp::Settings),
    /// Codes by counter.
    Hotp {
        /// How many digits: 6 to 8.
        digits: u8,
    },
    /// Yubico one-time passwords.
    Yubikey {
        /// Which key.
        public_id: String,
        /// Who judges.
        by: YubikeyBy,
    },
    /// Codes on paper.
    Recovery,
    /// What a RADIUS server asks for.
    Radius {
        /// The user's name there, where it is not made from the user by `radius.user_name`.
        name: Option<String>,
    },
}

/// Who judges the one-time passwords of a YubiKey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum YubikeyBy {
    /// The gateway, with the key's AES key.
    Gateway,
    /// The validation servers of `[yubikey]`.
    Server,
}

impl Parameters {
    /// Which kind they are of.
    #[must_use]
    pub const fn kind(&self) -> Factor {
        match self {
            Self::Totp(_) => Factor::Totp,
            Self::Hotp { .. } => Factor::Hotp,
            Self::Yubikey { .. } => Factor::Yubikey,
            Self::Recovery => Factor::Recovery,
            Self::Radius { .. } => Factor::Radius,
        }
    }

    /// Whether a factor can work so.
    #[must_use]
    pub fn are_possible(&self) -> bool {
        match self {
            Self::Totp(settings) => settings.is_possible(),
            Self::Hotp { digits } => (6..=8).contains(digits),
            Self::Yubikey { public_id, .. } => {
                public_id.len() == yubikey::PUBLIC_ID_LETTERS && yubikey::modhex(public_id).is_some()
            }
            Self::Recovery => true,
            Self::Radius { name } => name.as_ref().is_none_or(|name| (1..=128).contains(&name.len())),
        }
    }
}

/// A factor of a user, as the store has it.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its number.
    pub id: i64,
    /// Whose it is.
    pub user: User,
    /// A word by which the user knows it.
    pub label: String,
    /// How it works.
    pub parameters: Parameters,
    /// Its secret, sealed; empty where it has none.
    pub sealed: Vec<u8>,
    /// The last counter or step that was accepted.
    pub counter: Option<u64>,
    /// How many steps its clock was ahead when last used.
    pub drift: i64,
    /// When it was added.
    pub created_at: Timestamp,
    /// When its owner showed that it works; `None`: it does not count.
    pub confirmed_at: Option<Timestamp>,
    /// When it was last used.
    pub used_at: Option<Timestamp>,
    /// Wrong answers since it was last used.
    pub failures: u32,
    /// Of recovery codes: which were used, and when.
    pub used_codes: Vec<(usize, Timestamp)>,
}

impl Record {
    /// What kind it is.
    #[must_use]
    pub const fn kind(&self) -> Factor {
        self.parameters.kind()
    }

    /// Whether it counts.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.confirmed_at.is_some() && self.codes_left() != Some(0)
    }

    /// Of recovery codes: how many are left.
    #[must_use]
    pub fn codes_left(&self) -> Option<usize> {
        (self.kind() == Factor::Recovery).then(|| recovery::CODES.saturating_sub(self.used_codes.len()))
    }

    /// Where its secret stands.
    #[must_use]
    pub fn place(&self) -> Place {
        place(&self.user, self.id)
    }

    fn spend(&self, what: Use) -> Spend {
        Spend { user: self.user.clone(), factor: self.id, what }
    }
}

/// Where the secret of a user's factor stands.
#[must_use]
pub fn place(user: &User, id: i64) -> Place {
    Place::new(SEALED_IN, &[user.as_str(), &id.to_string()])
}

/// What came of judging an answer.
#[derive(Debug, Clone)]
pub enum Judgement {
    /// It is right, if the store takes this.
    Right(Spend),
    /// It was right once.
    Replayed,
    /// It is wrong.
    Wrong,
    /// The RADIUS server wants to know more.
    More {
        /// To be given with the answer, see [`Given`].
        state: radius::State,
        /// What to show the user.
        text: String,
    },
    /// It could not be judged; a stable code says why. Nobody is to be let in, and it is nobody's wrong answer.
    Unavailable(&'static str),
}

/// What is used up by a right answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spend {
    /// The user.
    pub user: User,
    /// The user's factor.
    pub factor: i64,
    /// What of it.
    pub what: Use,
}

/// What of a factor is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// This counter or step, and all before it.
    Counter {
        /// The counter.
        counter: u64,
        /// How many steps the token's clock was ahead.
        drift: i64,
    },
    /// The recovery code of this number.
    Code(usize),
    /// Nothing here: the server that judged has seen to it.
    Elsewhere,
}

/// What a user gave.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The answer.
    pub answer: &'a Secret<String>,
    /// What came with [`Judgement::More`], if this answers that.
    pub state: Option<&'a radius::State>,
    /// Where the user comes from.
    pub source: Option<IpAddr>,
}

/// Judges `answer` by the secret of `record`, for the kinds that need nobody else. Writes nothing, waits for nothing.
#[must_use]
pub fn judge(record: &Record, secret: &Secret<Vec<u8>>, answer: &Secret<String>, now: Timestamp) -> Judgement {
    let right = |counter, drift| Judgement::Right(record.spend(Use::Counter { counter, drift }));
    match &record.parameters {
        Parameters::Totp(settings) => match totp::judge(settings, secret, answer, record.counter, now) {
            totp::Judged::Right { step, drift } => right(step, drift),
            totp::Judged::Replayed => Judgement::Replayed,
            totp::Judged::Wrong => Judgement::Wrong,
        },
        Parameters::Hotp { digits } => match hotp::judge(&hotp_codes(*digits, secret), answer, record.counter) {
            hotp::Found::New(counter) => right(counter, 0),
            hotp::Found::Old => Judgement::Replayed,
            hotp::Found::Nothing => Judgement::Wrong,
        },
        Parameters::Yubikey { public_id, by: YubikeyBy::Gateway } => {
            match yubikey::judge(public_id, secret, answer, record.counter) {
                yubikey::Judged::Right(counter) => right(counter, 0),
                yubikey::Judged::Replayed => Judgement::Replayed,
                yubikey::Judged::Wrong => Judgement::Wrong,
            }
        }
        Parameters::Yubikey { by: YubikeyBy::Server, .. } | Parameters::Recovery | Parameters::Radius { .. } => {
            Judgement::Unavailable("factor-needs-more")
        }
    }
}

fn hotp_codes(digits: u8, secret: &Secret<Vec<u8>>) -> hotp::Codes<'_> {
    hotp::Codes { algorithm: hotp::Algorithm::Sha1, digits, secret: secret.expose() }
}

/// What two codes in a row say of a token: its parameters from now on, and what they use up.
#[must_use]
pub fn resync(
    record: &Record,
    secret: &Secret<Vec<u8>>,
    first: &Secret<String>,
    second: &Secret<String>,
    now: Timestamp,
) -> Option<(Parameters, Spend)> {
    match &record.parameters {
        Parameters::Totp(settings) => {
            let (counter, drift) = totp::resync(settings, secret, first, second, record.counter, now)?;
            let parameters = Parameters::Totp(totp::Settings { offset: drift, ..*settings });
            Some((parameters, record.spend(Use::Counter { counter, drift })))
        }
        Parameters::Hotp { digits } => {
            let counter = hotp::resync(&hotp_codes(*digits, secret), first, second, record.counter)?;
            Some((record.parameters.clone(), record.spend(Use::Counter { counter, drift: 0 })))
        }
        Parameters::Yubikey { .. } | Parameters::Recovery | Parameters::Radius { .. } => None,
    }
}

/// Judges answers of all kinds. Clones share the limit on hashes.
#[derive(Debug, Clone)]
pub struct Judge {
    sealer: Sealer,
    hasher: recovery::Hasher,
    radius: Option<radius::Client>,
    validation: Option<validation::Client>,
}

impl Judge {
    /// A judge that asks these servers.
    #[must_use]
    pub fn new(key: &Key, radius: Option<radius::Client>, validation: Option<validation::Client>) -> Self {
        Self { sealer: Sealer::new(key, SEALED_FOR), hasher: recovery::Hasher::default(), radius, validation }
    }

    /// A judge that asks the servers which the configuration names. `open` is what its files hold.
    ///
    /// # Errors
    /// Where there is no client for HTTPS.
    pub fn from_config(config: &Config, open: &mut Open, key: &Key, system: &System) -> Result<Self, reqwest::Error> {
        let secrets = std::mem::take(&mut open.radius_secrets);
        let radius = config.radius.as_ref().map(|written| {
            let settings = radius::Settings::from_config(written, secrets);
            radius::Client::new(settings, system.clone())
        });
        let validation = match config.yubikey.as_ref().zip(open.yubikey.take()) {
            None => None,
            Some((written, files)) => {
                let settings = validation::Settings::from_config(written, files.api_key);
                Some(validation::Client::new(settings, files.roots, system.clone())?)
            }
        };
        Ok(Self::new(key, radius, validation))
    }

    /// The sealer of factors' secrets.
    #[must_use]
    pub const fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Computes hashes of recovery codes.
    #[must_use]
    pub const fn hasher(&self) -> &recovery::Hasher {
        &self.hasher
    }

    /// Whether factors of this kind can be judged here at all: RADIUS and validation servers need their table in the
    /// configuration.
    #[must_use]
    pub const fn can_judge(&self, parameters: &Parameters) -> bool {
        match parameters {
            Parameters::Radius { .. } => self.radius.is_some(),
            Parameters::Yubikey { by: YubikeyBy::Server, .. } => self.validation.is_some(),
            Parameters::Yubikey { by: YubikeyBy::Gateway, .. }
            | Parameters::Totp(_)
            | Parameters::Hotp { .. }
            | Parameters::Recovery => true,
        }
    }

    /// The secret of `record`.
    ///
    /// # Errors
    /// Where it does not open.
    pub fn open(&self, record: &Record) -> Result<Secret<Vec<u8>>, SealError> {
        self.sealer.open(&record.place(), &record.sealed)
    }

    /// Judges an answer. Writes nothing; waits for servers, as long as their time-outs allow.
    pub async fn judge(&self, record: &Record, given: &Given<'_>, now: Timestamp) -> Judgement {
        match &record.parameters {
            Parameters::Totp(_) | Parameters::Hotp { .. } | Parameters::Yubikey { by: YubikeyBy::Gateway, .. } => {
                match self.open(record) {
                    Ok(secret) => judge(record, &secret, given.answer, now),
                    Err(error) => broken(record, &error),
                }
            }
            Parameters::Recovery => match self.open(record) {
                Ok(kept) => self.recovery(record, &kept, given.answer).await,
                Err(error) => broken(record, &error),
            },
            Parameters::Yubikey { public_id, by: YubikeyBy::Server } => {
                self.validation(record, public_id, given.answer).await
            }
            Parameters::Radius { name } => self.radius(record, name.as_deref(), given).await,
        }
    }

    async fn recovery(&self, record: &Record, kept: &Secret<Vec<u8>>, answer: &Secret<String>) -> Judgement {
        match self.hasher.find(kept, answer).await {
            Ok(Some(number)) if record.used_codes.iter().any(|(used, _)| *used == number) => Judgement::Replayed,
            Ok(Some(number)) => Judgement::Right(record.spend(Use::Code(number))),
            Ok(None) => Judgement::Wrong,
            Err(error) => {
                tracing::error!(factor = record.id, %error, "a recovery code could not be judged");
                Judgement::Unavailable("hash-failed")
            }
        }
    }

    async fn validation(&self, record: &Record, public_id: &str, answer: &Secret<String>) -> Judgement {
        let Some(client) = &self.validation else { return Judgement::Unavailable("validation-not-configured") };
        // What comes from another key is not asked about.
        if yubikey::Otp::parse(answer).is_none_or(|otp| otp.public_id() != public_id) {
            return Judgement::Wrong;
        }
        match client.judge(answer).await {
            validation::Judged::Right(Some(counter)) if record.counter.is_some_and(|last| counter <= last) => {
                Judgement::Replayed
            }
            validation::Judged::Right(Some(counter)) => {
                Judgement::Right(record.spend(Use::Counter { counter, drift: 0 }))
            }
            validation::Judged::Right(None) => Judgement::Right(record.spend(Use::Elsewhere)),
            validation::Judged::Replayed => Judgement::Replayed,
            validation::Judged::Wrong => Judgement::Wrong,
            validation::Judged::Unreachable => Judgement::Unavailable("validation-unreachable"),
        }
    }

    async fn radius(&self, record: &Record, name: Option<&str>, given: &Given<'_>) -> Judgement {
        let Some(client) = &self.radius else { return Judgement::Unavailable("radius-not-configured") };
        let user = name.map_or_else(|| client.name(record.user.as_str()), str::to_owned);
        let Given { answer, state, source } = *given;
        match client.ask(radius::Request { user: &user, password: answer, source, state }).await {
            radius::Outcome::Accept => Judgement::Right(record.spend(Use::Elsewhere)),
            radius::Outcome::Reject => Judgement::Wrong,
            radius::Outcome::Challenge { state, text } => Judgement::More { state, text },
            radius::Outcome::Unreachable => Judgement::Unavailable("radius-unreachable"),
        }
    }
}

fn broken(record: &Record, error: &SealError) -> Judgement {
    tracing::error!(factor = record.id, %error, "a factor's secret does not open");
    Judgement::Unavailable("factor-sealed")
}
