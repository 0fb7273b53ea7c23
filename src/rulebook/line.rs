//! The lines of a document of rules: one for each mode, network, service account and user, each with what it is about and what it says.

use std::fmt::Write as _;

use policy::account::Schedule;
use policy::setting;
use policy::{Enforcement, Factors, Logging, Mode, Network, ServiceAccount, Treatment};
use serde::{Deserialize, Serialize};

use super::Override;

/// A mode.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeLine {
    /// The service; empty: every one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// The host; empty: every one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// off, observe or enforce.
    pub enforcement: String,
}

/// A network rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkLine {
    /// Its number; of no account in a document from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<i64>,
    /// The service.
    pub service: String,
    /// The host; empty: every one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The addresses.
    pub network: String,
    /// The days; empty with `hours`: always.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub days: String,
    /// The hours of these days.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hours: String,
    /// exempt, challenge or deny.
    pub treatment: String,
    /// Whether users may enrol from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<bool>,
    /// all, rejected or none; empty: as the sink says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub logging: String,
    /// A date; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub review: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// A service account's rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceLine {
    /// Its number; of no account in a document from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<i64>,
    /// The user.
    pub user: String,
    /// The service.
    pub service: String,
    /// The addresses.
    pub network: String,
    /// The days.
    pub days: String,
    /// The hours of these days.
    pub hours: String,
    /// The SHA-256 of its certificate; empty: none is asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// What is laid down for one user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserLine {
    /// Whether the user is challenged even from exempt networks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always: bool,
    /// Which factors may be used; empty: all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub factors: String,
    /// Whether the user may enrol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<bool>,
    /// Minutes of repeat windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<u32>,
    /// all, rejected or none; empty: as network and sink say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub logging: String,
}

/// The field, and what was expected.
pub(super) type Wrong = (&'static str, String);

fn value<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, Wrong>
where
    T::Err: ToString,
{
    text.parse().map_err(|error: T::Err| (field, error.to_string()))
}

fn optional<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<Option<T>, Wrong>
where
    T::Err: ToString,
{
    if text.is_empty() { Ok(None) } else { value(field, text).map(Some) }
}

impl ModeLine {
    pub(super) fn of(mode: &Mode) -> Self {
        Self {
            service: mode.service.map(|service| service.to_string()).unwrap_or_default(),
            host: mode.host.as_deref().unwrap_or_default().to_owned(),
            enforcement: mode.enforcement.as_str().to_owned(),
        }
    }

    pub(super) fn read(&self) -> Result<Mode, Wrong> {
        if self.service.is_empty() && self.host.is_empty() {
            return Err(("service", "a mode is for a service, a host, or both; else it is a setting".to_owned()));
        }
        Ok(Mode {
            service: optional("service", &self.service)?,
            host: (!self.host.is_empty()).then(|| self.host.as_str().into()),
            enforcement: value("enforcement", &self.enforcement)?,
        })
    }

    /// How strict it is; what cannot be read is the least.
    pub(super) fn strictness(&self) -> Option<Enforcement> {
        self.enforcement.parse().ok()
    }

    pub(super) fn key(&self) -> String {
        let service = if self.service.is_empty() { "" } else { " of " };
        let host = if self.host.is_empty() { "" } else { " to " };
        format!("mode{service}{}{host}{}", self.service, self.host)
    }
}

impl NetworkLine {
    /// A rule as a line.
    #[must_use]
    pub fn of(rule: &Network) -> Self {
        let schedule = rule.schedule.map(|Schedule { days, hours }| (days.to_string(), hours.to_string()));
        let (days, hours) = schedule.unwrap_or_default();
        Self {
            number: (rule.id > 0).then_some(rule.id),
            service: rule.service.to_string(),
            host: rule.host.as_deref().unwrap_or_default().to_owned(),
            network: rule.block.to_string(),
            days,
            hours,
            treatment: rule.treatment.to_string(),
            enrolment: rule.enrolment,
            logging: rule.logging.map_or("", Logging::as_str).to_owned(),
            review: rule.review.map(|date| date.to_string()).unwrap_or_default(),
            comment: rule.comment.clone(),
        }
    }

    pub(super) fn read(&self, id: i64) -> Result<Network, Wrong> {
        let schedule = if self.days.is_empty() && self.hours.is_empty() {
            None
        } else {
            Some(Schedule { days: value("days", &self.days)?, hours: value("hours", &self.hours)? })
        };
        Ok(Network {
            id,
            service: value("service", &self.service)?,
            host: (!self.host.is_empty()).then(|| self.host.as_str().into()),
            block: value("network", &self.network)?,
            schedule,
            treatment: value("treatment", &self.treatment)?,
            enrolment: self.enrolment,
            logging: optional("logging", &self.logging)?,
            review: optional("review", &self.review)?,
            comment: self.comment.clone(),
        })
    }

    pub(super) fn key(&self) -> String {
        let Self { service, host, network, days, hours, .. } = self;
        let mut key = format!("network {service} from {network}");
        if !host.is_empty() {
            let _ = write!(key, " to {host}");
        }
        if !days.is_empty() || !hours.is_empty() {
            let _ = write!(key, ", {days} {hours}");
        }
        key
    }

    /// How strict it is; what cannot be read is the least.
    pub(super) fn strictness(&self) -> Option<Treatment> {
        self.treatment.parse().ok()
    }

    /// What it says, in words.
    #[must_use]
    pub fn says(&self) -> String {
        let mut text = self.treatment.clone();
        if let Some(on) = self.enrolment {
            text.push_str(if on { ", enrolment on" } else { ", enrolment off" });
        }
        for (name, value) in [("logging", &self.logging), ("review", &self.review), ("comment", &self.comment)] {
            if !value.is_empty() {
                let _ = write!(text, ", {name} {value}");
            }
        }
        text
    }
}

impl ServiceLine {
    pub(super) fn of(account: &ServiceAccount) -> Self {
        Self {
            number: (account.id > 0).then_some(account.id),
            user: account.user.to_string(),
            service: account.service.to_string(),
            network: account.block.to_string(),
            days: account.schedule.days.to_string(),
            hours: account.schedule.hours.to_string(),
            certificate: account.certificate.map(|certificate| certificate.to_string()).unwrap_or_default(),
            comment: account.comment.clone(),
        }
    }

    pub(super) fn read(&self, id: i64) -> Result<ServiceAccount, Wrong> {
        Ok(ServiceAccount {
            id,
            user: value("user", &self.user)?,
            service: value("service", &self.service)?,
            block: value("network", &self.network)?,
            schedule: Schedule { days: value("days", &self.days)?, hours: value("hours", &self.hours)? },
            certificate: optional("certificate", &self.certificate)?,
            comment: self.comment.clone(),
        })
    }

    pub(super) fn key(&self) -> String {
        let Self { user, service, network, days, hours, certificate, .. } = self;
        let with = if certificate.is_empty() { String::new() } else { format!(" with {certificate}") };
        format!("service account {user} by {service} from {network}, {days} {hours}{with}")
    }

    pub(super) fn says(&self) -> String {
        if self.comment.is_empty() { "let in".to_owned() } else { format!("let in, comment {}", self.comment) }
    }
}

impl UserLine {
    /// What is laid down as a line.
    #[must_use]
    pub fn of(laid: &Override) -> Self {
        Self {
            always: laid.always,
            factors: if laid.allowed == Factors::ALL { String::new() } else { laid.allowed.to_string() },
            enrolment: laid.enrolment,
            repeat: laid.repeat,
            logging: laid.logging.map_or("", Logging::as_str).to_owned(),
        }
    }

    pub(super) fn read(&self) -> Result<Override, Wrong> {
        let most = setting::find("repeat.minutes").ok().and_then(|setting| match setting.kind {
            setting::Kind::Number { max, .. } => Some(max),
            setting::Kind::Choice { .. } | setting::Kind::List { .. } => None,
        });
        if self.repeat > most {
            return Err(("repeat", format!("at most {} minutes", most.unwrap_or(0))));
        }
        Ok(Override {
            always: self.always,
            allowed: optional("factors", &self.factors)?.unwrap_or(Factors::ALL),
            enrolment: self.enrolment,
            repeat: self.repeat,
            logging: optional("logging", &self.logging)?,
        })
    }

    /// What it says, in words.
    #[must_use]
    pub fn says(&self) -> String {
        let mut parts = Vec::new();
        if self.always {
            parts.push("always".to_owned());
        }
        if !self.factors.is_empty() {
            parts.push(format!("factors {}", self.factors));
        }
        if let Some(on) = self.enrolment {
            parts.push(format!("enrolment {}", if on { "on" } else { "off" }));
        }
        if let Some(minutes) = self.repeat {
            parts.push(format!("repeat {minutes}"));
        }
        if !self.logging.is_empty() {
            parts.push(format!("logging {}", self.logging));
        }
        if parts.is_empty() { "nothing of its own".to_owned() } else { parts.join(", ") }
    }
}
