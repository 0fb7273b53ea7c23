//! What the configuration says about the audit: where entries go besides the store, and how long they stay.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use policy::{Logging, Secret};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::{Address, FileName, HostTls, Password};
use crate::audit::format::{Format, Syslog};

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
    /// Whether it gets alerts, and nothing else.
    pub only_alerts: bool,
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
    /// A receiver of HTTP requests.
    Webhook {
        /// Its address, which may be all that keeps others from it.
        url: Secret<String>,
        /// What of that anybody may read: name and port.
        address: Address,
        /// What requests are signed with.
        secret: Option<Password>,
        /// TLS towards it; `None`: it is on this machine, without TLS.
        tls: Option<SinkTls>,
    },
}

/// What a sink needs besides its place: how to speak TLS to it, and what requests are signed with.
#[derive(Debug, Clone, Default)]
pub struct OpenSink {
    /// TLS, and the receiver's name.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// The secret.
    pub secret: Option<Secret<String>>,
}

/// TLS towards a receiver.
#[derive(Debug, Clone)]
pub struct SinkTls {
    /// How its certificate is judged.
    pub trust: HostTls,
    /// The certificate and key that we show.
    pub identity: Option<(FileName, FileName)>,
}
