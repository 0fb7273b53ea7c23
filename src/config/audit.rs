//! What the configuration says about the audit: where entries go besides the store, and how long they stay.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Address, FileName, HostTls};
use crate::audit::format::{Format, Syslog};
use policy::Logging;

/// `[audit]`
#[derive(Debug)]
pub struct Audit {
    /// Whether nobody gets in while a required sink is behind.
    pub strict: bool,
    /// The file of the key that signs checkpoints.
    pub key_file: PathBuf,
    /// The folder for archives; without it nothing leaves the store by itself.
    pub archive: Option<PathBuf>,
    /// How many days entries stay in the store.
    pub retention_days: u32,
    /// `[[audit.sink]]`
    pub sinks: Vec<Sink>,
}

/// Where entries go besides the store.
#[derive(Debug, Clone)]
pub struct Sink {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is.
    pub target: Target,
    /// How entries look there.
    pub format: Format,
    /// Which entries it gets.
    pub level: Logging,
    /// Whether nobody gets in while it is behind, and how far it may be; with `strict` only.
    pub required: Option<Duration>,
    /// What the header of a syslog message needs.
    pub syslog: Syslog,
}

/// Where a sink is.
#[derive(Debug, Clone)]
pub enum Target {
    /// A file.
    File(PathBuf),
    /// A syslog receiver.
    Syslog {
        /// Where it listens.
        address: Address,
        /// TLS towards it.
        tls: Option<SinkTls>,
    },
}

/// TLS towards a syslog receiver.
#[derive(Debug, Clone)]
pub struct SinkTls {
    /// How its certificate is judged.
    pub trust: HostTls,
    /// The certificate and key that we show.
    pub identity: Option<(FileName, FileName)>,
}
