//! Messages from the text to the outbox: written in the reader's language, sealed, and queued with what they are about.
//!
//! ```text
//!   guard, command line ──▶ Post ──sealed parcel──▶ outbox ──claim──▶ Worker ──▶ relays, providers
//!            ▲                                         │
//!            └──────────── what became of it ──────────┘
//! ```
//!
//! Invariants: what is queued can be read with the deployment's key only, and only as the message it was queued as. Whoever
//! waits for a message learns what the store knows of it, whichever node has it in hand.

mod confirm;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use policy::challenge::mask;
use policy::{Attempt, ContactKind, Language, Secret, Service, User};
use tokio::sync::Notify;

use crate::audit::alert::Raised;
use crate::config::{Config, Open};
use crate::key::Key;
use crate::notify::template::Value;
use crate::notify::{Couriers, Failure, Letter, Recipient, Template, Waits};
use crate::seal::{Place, SealError, Sealer};
use crate::store::{self, Challenge, Contact, Kind, Parcel, State, Stationery, Store};
use crate::system::{NoRandomness, System};

pub use worker::Worker;

/// How long a message other than a passcode may wait for a worker.
const NOTICE_LIFE: SignedDuration = SignedDuration::from_hours(24);
/// How long the code counts that confirms a contact.
pub const CODE_LIFE: SignedDuration = SignedDuration::from_mins(15);
/// How often whoever waits looks for what another node did.
const LOOK: Duration = Duration::from_millis(200);

/// Names and zone that stand on screens, in messages and in the audit.
#[derive(Debug, Clone)]
pub struct Names {
    /// The gateway's name.
    pub gateway: Arc<str>,
    /// The node's name.
    pub node: Arc<str>,
    /// The zone of the times that people read.
    pub time_zone: TimeZone,
}

/// Why a message was not written.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// There are no random numbers.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// It cannot be sealed.
    #[error(transparent)]
    Unsealed(#[from] SealError),
}

/// What became of a passcode's message, as far as whoever waits for it is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A provider took it.
    Sent,
    /// It was not sent, or not in time, or nobody knows: the code of the reason.
    Undelivered(String),
}

/// What changed about a user's contacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// One was added.
    Added,
    /// One was confirmed.
    Verified,
    /// One was removed.
    Removed,
}

/// What a message to a user's contacts tells.
#[derive(Debug, Clone, Copy)]
pub enum Notice<'a> {
    /// Contacts of the user changed: how, and which, masked.
    ContactChanged(Change, &'a str),
    /// The password was right and a wrong passcode was keyed.
    Alert(&'a Attempt),
    /// The user has a new factor: its name.
    Enrolled(&'a str),
}

/// Where message `id` is sealed.
fn place(id: &str) -> Place {
    Place::new("outbox.sealed", &[id])
}

/// Writes messages and queues them. Clones are the same.
#[derive(Debug, Clone)]
pub struct Post(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    key: Key,
    sealer: Sealer,
    names: Names,
    system: System,
    operators: Vec<String>,
    /// How long a passcode's message is waited for.
    waits: Waits,
    /// There is something to send.
    wake: Notify,
    /// Something was sent, or not.
    settled: Notify,
}

/// What delivers as `config` says; `open` is what its files hold.
///
/// # Errors
/// Where a relay or a provider makes no sense.
pub fn open(config: &Config, open: &Open, store: Store, key: &Key, system: System) -> Result<(Post, Worker), Failure> {
    let couriers = Couriers::open(config, open)?;
    let post = Post::new(store, key, Names::of(config), system, config.alerts.clone(), couriers.waits());
    Ok((post.clone(), Worker::new(post, couriers)))
}

impl Names {
    /// Those of the configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let gateway = &config.gateway;
        Self { gateway: gateway.name.clone(), node: gateway.node.clone(), time_zone: gateway.time_zone.clone() }
    }
}

impl Post {
    /// Over `store`; `operators`: the addresses of those who run the gateway; `waits`: how long a passcode's message is
    /// waited for.
    #[must_use]
    pub fn new(store: Store, key: &Key, names: Names, system: System, operators: Vec<String>, waits: Waits) -> Self {
        let sealer = Sealer::new(key, "sallyport outbox 1");
        let (wake, settled) = (Notify::new(), Notify::new());
        Self(Arc::new(Inner { store, key: key.clone(), sealer, names, system, operators, waits, wake, settled }))
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// How long a passcode's message to `contact` is waited for.
    #[must_use]
    pub fn patience(&self, contact: &Contact) -> Duration {
        self.0.waits.of(contact.kind, &contact.carrier, &contact.provider)
    }

    /// Whether any provider takes SMS.
    #[must_use]
    pub fn has_sms(&self) -> bool {
        self.0.waits.has_sms()
    }

    /// Has the worker of this process look for messages at once.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// The message with the passcode of `challenge` for `contact`, to be queued with it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub async fn passcode(
        &self,
        challenge: &Challenge,
        contact: &Contact,
        passcode: &Secret<String>,
        attempt: &Attempt,
    ) -> Result<Parcel, Fault> {
        let stationery = self.0.store.stationery(attempt.user.clone(), None).await?;
        let inner = &*self.0;
        let writer = Writer { inner, stationery: &stationery };
        let prefix = challenge.prefix.to_string();
        let hint = writer.text(hint(attempt.service), &[("prefix", Value::Plain(&prefix))]);
        let (time, expires) = (inner.local(attempt.at), inner.clock(challenge.expires_at));
        let user = attempt.user.as_ref().map_or("", User::as_str);
        let source = attempt.source.to_string();
        let shown = mask(&contact.address);
        let values = [
            ("prefix", Value::Plain(&prefix)),
            ("passcode", Value::Secret(passcode)),
            ("hint", Value::Lines(hint.expose())),
            ("user", Value::Plain(user)),
            ("host", Value::Plain(&attempt.host)),
            ("service", Value::Plain(service(attempt.service))),
            ("source", Value::Plain(&source)),
            ("time", Value::Plain(&time)),
            ("expires", Value::Plain(&expires)),
            ("gateway", Value::Plain(&inner.names.gateway)),
            ("contact", Value::Plain(&shown)),
        ];
        let letter = writer.letter(contact, "passcode", &values);
        let head = Head {
            kind: Kind::Passcode,
            user,
            contact: Some(contact.id),
            address: &contact.address,
            destination: &shown,
        };
        let parcel = inner.parcel(head, challenge.id.clone(), &letter, attempt.at, challenge.expires_at)?;
        Ok(Parcel { challenge: Some(challenge.id.clone()), ..parcel })
    }

    /// The message with the code that confirms `contact`.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub async fn confirmation(&self, user: &User, contact: &Contact, code: &Secret<String>) -> Result<Parcel, Fault> {
        let inner = &*self.0;
        let stationery = inner.store.stationery(Some(user.clone()), None).await?;
        let now = inner.system.now();
        let expires_at = now.checked_add(CODE_LIFE).unwrap_or(now);
        let (time, expires, shown) = (inner.local(now), inner.clock(expires_at), mask(&contact.address));
        let values = [
            ("code", Value::Secret(code)),
            ("user", Value::Plain(user.as_str())),
            ("gateway", Value::Plain(&inner.names.gateway)),
            ("time", Value::Plain(&time)),
            ("expires", Value::Plain(&expires)),
            ("contact", Value::Plain(&shown)),
        ];
        let letter = Writer { inner, stationery: &stationery }.letter(contact, "verify", &values);
        let head = Head {
            kind: Kind::Verify,
            user: user.as_str(),
            contact: Some(contact.id),
            address: &contact.address,
            destination: &shown,
        };
        inner.parcel(head, inner.system.id()?, &letter, now, expires_at)
    }

    /// The test message for `contact`, to be handed over by the caller.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub async fn test(&self, user: &User, contact: &Contact) -> Result<Letter, Fault> {
        let inner = &*self.0;
        let stationery = inner.store.stationery(Some(user.clone()), None).await?;
        let (time, shown) = (inner.local(inner.system.now()), mask(&contact.address));
        let values = [
            ("user", Value::Plain(user.as_str())),
            ("gateway", Value::Plain(&inner.names.gateway)),
            ("time", Value::Plain(&time)),
            ("contact", Value::Plain(&shown)),
        ];
        Ok(Writer { inner, stationery: &stationery }.letter(contact, "test", &values))
    }

    /// Messages about `notice` for the contacts of `user` that count. To be queued with what they are about, or by [`Post::tell`].
    ///
    /// # Errors
    /// Where they cannot be written.
    pub async fn notices(&self, user: &User, notice: Notice<'_>) -> Result<Vec<Parcel>, Fault> {
        let mut contacts = self.0.store.user(user.clone()).await?.contacts;
        contacts.retain(|contact| contact.verified_at.is_some());
        self.letters(user, &contacts, notice).await
    }

    /// A message about `notice` for one contact of `user`, whether it counts or not. To be queued with what it is about.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub async fn notice_to(&self, user: &User, contact: &Contact, notice: Notice<'_>) -> Result<Vec<Parcel>, Fault> {
        self.letters(user, std::slice::from_ref(contact), notice).await
    }

    async fn letters(&self, user: &User, contacts: &[Contact], notice: Notice<'_>) -> Result<Vec<Parcel>, Fault> {
        let inner = &*self.0;
        let stationery = inner.store.stationery(Some(user.clone()), None).await?;
        let writer = Writer { inner, stationery: &stationery };
        let now = inner.system.now();
        let expires_at = now.checked_add(NOTICE_LIFE).unwrap_or(now);
        let time = inner.local(now);
        let mut values = vec![
            ("user", Value::Plain(user.as_str())),
            ("gateway", Value::Plain(&inner.names.gateway)),
            ("time", Value::Plain(&time)),
        ];
        let (change, source);
        let (kind, name) = match notice {
            Notice::ContactChanged(how, which) => {
                let template = match how {
                    Change::Added => "change-added",
                    Change::Verified => "change-verified",
                    Change::Removed => "change-removed",
                };
                change = writer.text(template, &[("changed", Value::Plain(which))]);
                values.push(("change", Value::Lines(change.expose())));
                (Kind::ContactChanged, "contact-changed")
            }
            Notice::Alert(attempt) => {
                source = attempt.source.to_string();
                values.extend([
                    ("host", Value::Plain(&attempt.host)),
                    ("service", Value::Plain(service(attempt.service))),
                    ("source", Value::Plain(&source)),
                ]);
                (Kind::Alert, "alert")
            }
            Notice::Enrolled(factor) => {
                values.push(("factor", Value::Plain(factor)));
                (Kind::Enrolled, "enrolled")
            }
        };
        let mut parcels = Vec::new();
        for contact in contacts {
            let shown = mask(&contact.address);
            let mut values = values.clone();
            values.push(("contact", Value::Plain(&shown)));
            let letter = writer.letter(contact, name, &values);
            let head = Head {
                kind,
                user: user.as_str(),
                contact: Some(contact.id),
                address: &contact.address,
                destination: &shown,
            };
            parcels.push(inner.parcel(head, inner.system.id()?, &letter, now, expires_at)?);
        }
        Ok(parcels)
    }

    /// Tells the contacts of `user` of `notice`; how many messages were queued. Operators hear of what they should from the audit.
    ///
    /// # Errors
    /// Where they cannot be written or queued.
    pub async fn tell(&self, user: &User, notice: Notice<'_>) -> Result<usize, Fault> {
        let parcels = self.notices(user, notice).await?;
        let queued = self.0.store.enqueue(parcels, None).await?;
        self.wake();
        Ok(queued)
    }

    /// Whether there is an operator's address.
    #[must_use]
    pub fn has_operators(&self) -> bool {
        !self.0.operators.is_empty()
    }

    /// The mails about an alert, to be queued with it.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn alert(&self, stationery: &Stationery, raised: &Raised) -> Result<Vec<Parcel>, Fault> {
        let lines = raised.lines(|at| self.0.local(at));
        self.operators(stationery, &raised.headline(), &lines)
    }

    fn operators(&self, stationery: &Stationery, event: &str, detail: &str) -> Result<Vec<Parcel>, Fault> {
        let inner = &*self.0;
        let writer = Writer { inner, stationery };
        let now = inner.system.now();
        let time = inner.local(now);
        let values = [
            ("event", Value::Plain(event)),
            ("detail", Value::Lines(detail)),
            ("node", Value::Plain(&inner.names.node)),
            ("time", Value::Plain(&time)),
            ("gateway", Value::Plain(&inner.names.gateway)),
        ];
        let expires_at = now.checked_add(NOTICE_LIFE).unwrap_or(now);
        let mut parcels = Vec::new();
        for address in &inner.operators {
            let letter = writer.mail(address.clone(), "operator", &values);
            let kind = Kind::OperatorAlert;
            let head = Head { kind, user: "", contact: None, address, destination: &mask(address) };
            parcels.push(inner.parcel(head, inner.system.id()?, &letter, now, expires_at)?);
        }
        Ok(parcels)
    }

    /// Waits up to `limit` for what becomes of message `id`. What is late is not cancelled by this.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn outcome(&self, id: &str, limit: Duration) -> Result<Outcome, store::Error> {
        let begun = self.0.system.instant();
        loop {
            // Before looking: what is settled meanwhile is not missed.
            let settled = self.0.settled.notified();
            let found = self.0.store.whereabouts(id.to_owned()).await?;
            let reason = match found {
                Some(found) => match found.state {
                    State::Sent => return Ok(Outcome::Sent),
                    State::Queued | State::Sending => found.reason,
                    State::Failed | State::Cancelled | State::Unknown | State::Expired => {
                        return Ok(Outcome::Undelivered(code(found.reason, found.state.as_str())));
                    }
                },
                None => return Ok(Outcome::Undelivered("delivery-lost".to_owned())),
            };
            let passed = self.0.system.instant().saturating_duration_since(begun);
            if passed >= limit {
                return Ok(Outcome::Undelivered(code(reason, "late")));
            }
            let _ = tokio::time::timeout(LOOK.min(limit - passed), settled).await;
        }
    }
}

/// The code of the last failure, or one for the state.
fn code(reason: String, state: &str) -> String {
    if reason.is_empty() { format!("delivery-{state}") } else { reason }
}

/// What stands on a parcel.
struct Head<'a> {
    kind: Kind,
    user: &'a str,
    contact: Option<i64>,
    address: &'a str,
    destination: &'a str,
}

impl Inner {
    fn parcel(
        &self,
        head: Head<'_>,
        id: String,
        letter: &Letter,
        at: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Parcel, Fault> {
        let sealed = self.sealer.seal(&place(&id), &letter.to_bytes())?;
        Ok(Parcel {
            id,
            kind: head.kind,
            challenge: None,
            user: head.user.to_owned(),
            contact: head.contact,
            node: self.names.node.to_string(),
            address_mark: self.key.mark(b"address", &Secret::new(head.address.to_ascii_lowercase().into_bytes())),
            destination: head.destination.to_owned(),
            sealed,
            at,
            expires_at,
        })
    }

    fn local(&self, time: Timestamp) -> String {
        time.to_zoned(self.names.time_zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
    }

    fn clock(&self, time: Timestamp) -> String {
        time.to_zoned(self.names.time_zone.clone()).strftime("%H:%M:%S %Z").to_string()
    }
}

/// Writes with the texts of one reader.
struct Writer<'a> {
    inner: &'a Inner,
    stationery: &'a Stationery,
}

impl Writer<'_> {
    fn text(&self, name: &'static str, values: &[(&str, Value<'_>)]) -> Secret<String> {
        let Some(template) = Template::find(name) else { return Secret::new(String::new()) };
        template.fill(&text_of(template, self.stationery), values)
    }

    fn letter(&self, contact: &Contact, name: &'static str, values: &[(&str, Value<'_>)]) -> Letter {
        let carrier = self.stationery.carriers.iter().find(|carrier| carrier.name == contact.carrier);
        match (contact.kind, carrier) {
            (ContactKind::Email, _) => self.mail(contact.address.clone(), name, values),
            (ContactKind::Sms, Some(carrier)) => {
                // A carrier's gateway puts the subject before the text.
                let to = carrier.address(&contact.address);
                Letter { subject: String::new(), text: self.named(name, "sms", values), ..self.mail(to, name, values) }
            }
            (ContactKind::Sms, None) => Letter {
                to: Recipient::Sms { number: contact.address.clone(), provider: contact.provider.clone() },
                from: String::new(),
                reply_to: String::new(),
                subject: String::new(),
                text: self.named(name, "sms", values),
            },
        }
    }

    fn mail(&self, to: String, name: &'static str, values: &[(&str, Value<'_>)]) -> Letter {
        let mut text = self.named(name, "body", values).expose().clone();
        text.push('\n');
        Letter {
            to: Recipient::Email(to),
            from: self.stationery.from.clone(),
            reply_to: self.stationery.reply_to.clone(),
            subject: self.named(name, "subject", values).expose().clone(),
            text: Secret::new(text),
        }
    }

    fn named(&self, name: &str, part: &str, values: &[(&str, Value<'_>)]) -> Secret<String> {
        let name = format!("{name}-{part}");
        let Some(template) = Template::find(&name) else {
            tracing::error!(%name, node = %self.inner.names.node, "no template has this name");
            return Secret::new(String::new());
        };
        template.fill(&text_of(template, self.stationery), values)
    }
}

/// The text of `template` that counts: an operator's, where it is still right, or the one built in.
#[must_use]
pub fn text_of(template: &Template, stationery: &Stationery) -> String {
    let stored = stationery.texts.iter().find(|text| text.name == template.name);
    let stored = stored.and_then(|stored| template.check(&stored.text).ok());
    stored.unwrap_or_else(|| template.built_in(stationery.language).to_owned())
}

/// Values with which a template can be looked at.
#[must_use]
pub fn sample(template: &Template, names: &Names, language: Language) -> Vec<(&'static str, String)> {
    let values = [
        ("prefix", "V"),
        ("passcode", "482913"),
        ("code", "482913"),
        ("user", "ANNA"),
        ("host", "PROD"),
        ("service", service(Service::Telnet)),
        ("source", "203.0.113.9"),
        ("time", "2026-11-22 14:03:59 UTC"),
        ("expires", "14:08:59 UTC"),
        ("contact", "a***@example.com"),
        ("changed", "b***@example.com"),
        ("factor", "b***@example.com"),
        ("event", "smtp mail.example.com:587 is down"),
        ("detail", "mail-unreachable, 3 times in a row"),
    ];
    let mut values: Vec<_> = values.map(|(name, value)| (name, value.to_owned())).into();
    values.extend([("gateway", names.gateway.to_string()), ("node", names.node.to_string())]);
    for (name, part) in [("hint", hint(Service::Telnet)), ("change", "change-added")] {
        let text = Template::find(part).map_or("", |template| template.built_in(language));
        values.push((name, text.replace("{prefix}", "V").replace("{changed}", "b***@example.com")));
    }
    values.retain(|(name, _)| template.may.contains(name));
    values
}

const fn hint(service: Service) -> &'static str {
    match service {
        Service::Telnet => "hint-telnet",
        Service::Ftp => "hint-ftp",
    }
}

const fn service(service: Service) -> &'static str {
    match service {
        Service::Telnet => "5250 terminal",
        Service::Ftp => "FTP",
    }
}

#[cfg(test)]
mod tests;
