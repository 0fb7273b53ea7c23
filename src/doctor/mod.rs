//! `sallyport doctor`: looks for what is wrong, or soon will be, and says what to do about it.
//!
//! ```text
//!   configuration ─▶ Context ─▶ each of CHECKS ─▶ findings: ok, warning, problem; what was found; what to do
//! ```
//!
//! - A check changes nothing: no schema, no rule, no file. Only a test message that was asked for is sent.
//! - A check ends: what it waits for has a limit, and the whole check has [`TIME_MAX`].
//! - No finding holds a secret.

mod advice;
mod alert;
mod audit;
mod certificate;
mod delivery;
mod direct;
mod local;
mod network;
mod rule;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;

pub use advice::{ADVICE, Advice};
pub use direct::{DOORS, Door, Opening, probe};

use crate::config::{Config, ConfigError, Open};
use crate::control::{self, Answer, Command, Status};
use crate::store::{self, Store};
use crate::system::System;

/// The longest that one check may take.
pub const TIME_MAX: Duration = Duration::from_secs(60);

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but should be looked at.
    Warning,
    /// It does not work, or is not safe.
    Problem,
}

impl Level {
    /// The name in lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// By which check: a stable name.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was looked at.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// At this machine only, without connecting to anything.
    Quick,
    /// At everything.
    Usual,
    /// At everything, and at all of the store and all addresses of each name.
    Deep,
}

/// What checks look at.
#[derive(Debug)]
pub struct Context {
    /// The configuration.
    pub config: Config,
    /// What its files hold, or what is wrong with them.
    pub open: Result<Open, ConfigError>,
    /// How the running gateway is; `None`: none runs here.
    pub status: Option<Status>,
    /// How thoroughly to look.
    pub depth: Depth,
    /// Where to send a test message.
    pub send: Option<String>,
    /// The clock.
    pub system: System,
}

/// A check on its way.
pub type Looking<'a> = Pin<Box<dyn Future<Output = Vec<Finding>> + Send + 'a>>;

/// One check.
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Whether it connects to other machines.
    pub is_remote: bool,
    /// What it finds.
    pub look: for<'a> fn(&'a Context) -> Looking<'a>,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check").field("name", &self.name).field("is_remote", &self.is_remote).finish_non_exhaustive()
    }
}

/// All checks, in the order in which they are made: what others rest on comes first.
pub const CHECKS: &[Check] = &[
    Check { name: "configuration", is_remote: false, look: |at| Box::pin(local::configuration(at)) },
    Check { name: "permissions", is_remote: false, look: |at| Box::pin(local::permissions(at)) },
    Check { name: "key", is_remote: false, look: |at| Box::pin(local::key(at)) },
    Check { name: "store", is_remote: false, look: |at| Box::pin(local::store(at)) },
    Check { name: "disk", is_remote: false, look: |at| Box::pin(local::disk(at)) },
    Check { name: "clock", is_remote: false, look: |at| Box::pin(local::clock(at)) },
    Check { name: "time-zone", is_remote: false, look: |at| Box::pin(local::time_zone(at)) },
    Check { name: "process", is_remote: false, look: |at| Box::pin(local::process(at)) },
    Check { name: "listeners", is_remote: false, look: |at| Box::pin(local::listeners(at)) },
    Check { name: "certificates", is_remote: false, look: |at| Box::pin(certificate::ours(at)) },
    Check { name: "rules", is_remote: false, look: |at| Box::pin(rule::rules(at)) },
    Check { name: "delivery", is_remote: false, look: |at| Box::pin(delivery::sender(at)) },
    Check { name: "audit", is_remote: false, look: |at| Box::pin(audit::audit(at)) },
    Check { name: "alerts", is_remote: false, look: |at| Box::pin(alert::alerts(at)) },
    Check { name: "names", is_remote: true, look: |at| Box::pin(network::names(at)) },
    Check { name: "hosts", is_remote: true, look: |at| Box::pin(network::hosts(at)) },
    Check { name: "mail", is_remote: true, look: |at| Box::pin(delivery::mail(at)) },
    Check { name: "sms", is_remote: true, look: |at| Box::pin(delivery::sms(at)) },
];

impl Finding {
    /// It is as it should be.
    #[must_use]
    pub fn ok(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check: "", level: Level::Ok, subject: subject.into(), found: found.into(), advice: None }
    }

    /// It should be looked at.
    #[must_use]
    pub fn warning(subject: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Warning, advice: Some(advice.into()), ..Self::ok(subject, found) }
    }

    /// It does not work, or is not safe.
    #[must_use]
    pub fn problem(subject: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Problem, advice: Some(advice.into()), ..Self::ok(subject, found) }
    }
}

impl Context {
    /// What there is to look at with `config`.
    pub async fn new(config: Config, depth: Depth, send: Option<String>) -> Self {
        let status = match control::ask(&config.gateway.control, &Command::Status).await {
            Ok(Answer::Status { status }) => Some(status),
            _ => None,
        };
        Self { open: config.open(), config, status, depth, send, system: System::new() }
    }
}

/// The store, where to open it changes nothing: not to make one, and not to bring its schema up to date.
async fn open_store(at: &Context) -> Result<Store, Finding> {
    let path = at.config.gateway.store.clone();
    let inspected = tokio::task::spawn_blocking({
        let path = path.clone();
        move || store::inspect(&path, false)
    });
    let not_looked_at = |why: String| Finding::warning("store", why, "correct the store first");
    match inspected.await {
        Ok(Ok(found)) if found.schema == found.known && found.locked.is_none() => {}
        _ => return Err(not_looked_at("not looked at, see the check of the store".to_owned())),
    }
    Store::open(&path, at.system.now()).await.map_err(|error| not_looked_at(error.to_string()))
}

/// Makes all checks; what they found, in their order.
pub async fn examine(context: &Context) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in CHECKS.iter().filter(|check| context.depth != Depth::Quick || !check.is_remote) {
        let found = tokio::time::timeout(TIME_MAX, (check.look)(context)).await.unwrap_or_else(|_| {
            let found = format!("not done within {} s", TIME_MAX.as_secs());
            vec![Finding::problem(check.name, found, "look at what it waits for, and run it again")]
        });
        findings.extend(found.into_iter().map(|finding| Finding { check: check.name, ..finding }));
    }
    findings
}
