//! The configuration: `sallyport.toml`, what it may say and what it means.
//!
//! ```text
//!   text ──file──▶ File ──check──▶ Config ──open──▶ Open
//!         types     │     meaning            files
//!         unknown keys    names, addresses   certificates, keys, passwords
//! ```
//!
//! Listeners, hosts, TLS, the store's place, mail relays and SMS providers stand here. Users, contacts, networks and settings live in
//! the store and take effect without a restart.
//!
//! - Unknown keys are refused; a mistake is told with file, line, column, what was expected, and the line itself.
//! - [`Config::load`] reads nothing but the file, so that a verb that needs the store only does not need the keys.
//! - Relative paths start at the folder of the configuration file.

mod audit;
mod check;
mod delivery;
mod factor;
mod file;
mod ftp;
mod open;
mod problem;

use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use policy::Service;
use proxy_tn5250::gate;
use rustls::pki_types::ServerName;

pub use audit::{Audit, OpenSink, Sink, SinkTls, Target};
pub use delivery::{OAuth, Password, RelaySecrets, Sms, SmsHow, Smtp, SmtpLogin, SmtpTls};
pub use factor::{ApiKey, OpenYubikey, Radius, RadiusServer, Yubikey};
pub use ftp::{Ftp, FtpHost};
pub use open::Open;
pub use problem::{ConfigError, Problem};

use crate::tls::{ClientCertificates, Pin};

/// A configuration that is consistent in itself.
#[derive(Debug)]
pub struct Config {
    /// `[gateway]`
    pub gateway: Gateway,
    /// `[smtp]`
    pub smtp: Smtp,
    /// `[[smtp.fallback]]`
    pub smtp_fallbacks: Vec<Smtp>,
    /// `[[sms]]`
    pub sms: Vec<Sms>,
    /// `[alerts]`: the operators' addresses.
    pub alerts: Vec<String>,
    /// `[[host]]`
    pub hosts: Vec<Host>,
    /// `[[listener]]`
    pub listeners: Vec<Listener>,
    /// `[limits]`
    pub limits: Limits,
    /// `[radius]`
    pub radius: Option<Radius>,
    /// `[yubikey]`
    pub yubikey: Option<Yubikey>,
    /// `[audit]`
    pub audit: Audit,
    /// `[metrics]`
    pub metrics: Metrics,
    source: problem::Source,
}

/// The gateway itself.
#[derive(Debug)]
pub struct Gateway {
    /// Its name on screens and in messages.
    pub name: Arc<str>,
    /// Which of several processes this is, in the audit.
    pub node: Arc<str>,
    /// The zone of the times on screens and in messages.
    pub time_zone: TimeZone,
    /// The store's file.
    pub store: PathBuf,
    /// The file of the deployment's keys, under which passcodes are hashed and secrets sealed.
    pub key_file: PathBuf,
    /// The control socket.
    pub control: PathBuf,
}

/// An IBM i behind the gateway.
#[derive(Debug)]
pub struct Host {
    /// Its name on screens, in rules and in the audit.
    pub name: Arc<str>,
    /// Where it is.
    pub address: Address,
    /// TLS towards it.
    pub tls: Option<HostTls>,
    /// What its TN5250 gates do.
    pub gate: Arc<gate::Settings>,
    /// Its FTP server.
    pub ftp: FtpHost,
}

/// A place to connect to: a name or an IP address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The name or IP address.
    pub name: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// TLS towards a host.
#[derive(Debug, Clone)]
pub struct HostTls {
    /// How its certificate is judged.
    pub trust: HostTrust,
    /// The name that the certificate must be for.
    pub server_name: ServerName<'static>,
    span: Range<usize>,
}

/// How a host's certificate is judged.
#[derive(Debug, Clone)]
pub enum HostTrust {
    /// By the system's trusted certificates.
    System,
    /// By those of a file.
    CaFile(FileName),
    /// By being one of these.
    Pins(Vec<Pin>),
}

/// Where clients connect to.
#[derive(Debug)]
pub struct Listener {
    /// Its name in the audit.
    pub name: Arc<str>,
    /// The protocol.
    pub service: Service,
    /// The address it is bound to.
    pub address: SocketAddr,
    /// Which of [`Config::hosts`] it leads to.
    pub host: usize,
    /// TLS with the clients.
    pub tls: Option<ListenerTls>,
    /// The balancers that send a PROXY header.
    pub balancers: Vec<IpNet>,
    /// What it does where it speaks FTP.
    pub ftp: Option<Ftp>,
}

/// TLS with the clients.
#[derive(Debug)]
pub struct ListenerTls {
    /// The certificate and its chain.
    pub certificate: FileName,
    /// The private key.
    pub key: FileName,
    /// Who issues the certificates of clients, and whether they need one.
    pub clients: Option<(FileName, ClientCertificates)>,
}

/// A file that the configuration names.
#[derive(Clone)]
pub struct FileName {
    /// The file.
    pub path: PathBuf,
    span: Range<usize>,
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.path, f)
    }
}

/// The listener for metrics and health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// The address it is bound to; `None`: there is none.
    pub address: Option<SocketAddr>,
}

/// How many times as long as one prompt all prompts of one sign-on may take: a choice, an address, the wait for its code, and one
/// mistake.
pub const PROMPTS_TOGETHER: u32 = 4;

/// How much is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one source address.
    pub connections_per_source: usize,
    /// Connections that are not admitted yet.
    pub unauthenticated: usize,
    /// Connections of one source address that are not admitted yet.
    pub unauthenticated_per_source: usize,
    /// Connections that one source address may open at once, and again over each minute after.
    pub connects_per_minute: u32,
    /// How long a PROXY header and a TLS handshake may take, each.
    pub handshake: Duration,
    /// How long connecting to a host may take.
    pub host_connect: Duration,
    /// How long a terminal may stand at the sign-on display.
    pub sign_on: Duration,
    /// How long a prompt waits for its answer; all prompts of a sign-on together [`PROMPTS_TOGETHER`] times as long.
    pub prompt: Duration,
    /// How long sessions live on when another process has taken over.
    pub drain: Duration,
    /// How long sessions live on when the gateway is told to stop.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 5_000,
            connections_per_source: 500,
            unauthenticated: 1_000,
            unauthenticated_per_source: 250,
            connects_per_minute: 300,
            handshake: Duration::from_secs(10),
            host_connect: Duration::from_secs(10),
            sign_on: Duration::from_secs(3_600),
            prompt: Duration::from_secs(300),
            drain: Duration::from_secs(28_800),
            stop: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// What rules can be for.
    #[must_use]
    pub fn site(&self) -> policy::check::Site {
        policy::check::Site {
            hosts: self.hosts.iter().map(|host| Arc::clone(&host.name)).collect(),
            services: self.listeners.iter().map(|listener| listener.service).collect(),
        }
    }

    /// Reads and checks the file at `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        Self::parse(path, text)
    }

    /// Checks `text`, the content of the file at `path`.
    pub fn parse(path: &Path, text: String) -> Result<Self, ConfigError> {
        check::check(problem::Source::new(path, text))
    }

    /// Reads the files that the configuration names: certificates, keys, passwords.
    pub fn open(&self) -> Result<Open, ConfigError> {
        open::open(self)
    }

    /// What takes a restart to change: the tables' names, and what stands in each. Files that they name are not read.
    #[must_use]
    pub fn fixed(&self) -> Vec<(&'static str, String)> {
        vec![
            ("[gateway]", format!("{:?}", self.gateway)),
            ("[smtp]", format!("{:?}", self.smtp)),
            ("[[smtp.fallback]]", format!("{:?}", self.smtp_fallbacks)),
            ("[[sms]]", format!("{:?}", self.sms)),
            ("[alerts]", format!("{:?}", self.alerts)),
            ("[radius]", format!("{:?}", self.radius)),
            ("[yubikey]", format!("{:?}", self.yubikey)),
            ("[audit]", format!("{:?}", self.audit)),
            ("[metrics]", format!("{:?}", self.metrics)),
        ]
    }

    /// The file it came from.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.source.path()
    }
}
