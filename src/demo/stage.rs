//! The whole demo in one process: simulated host, mail sink, and the gateway between them, on the loopback.
//!
//! ```text
//!   terminal, FTP client ──▶ gateway ──▶ simulated host, simulated FTP host
//!                               └─ mail ─▶ sink ──▶ Stage::mails
//! ```
//!
//! The gateway is the one that `serve` runs, from a configuration file like any other. File, store and key stand in a
//! temporary directory that only this user can read and that goes when the stage does.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use policy::{ContactKind, Secret, User};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ftp::FtpHost;
use super::host::{Happening, Host, HostSettings};
use super::mail::{self, Mail};
use crate::audit::{Entry, Event, Outcome};
use crate::config::{Config, ConfigError};
use crate::delivery;
use crate::factor::{Judge, Parameters, hotp, totp};
use crate::guard::Guard;
use crate::key::{Key, KeyError};
use crate::notify;
use crate::serve::{self, Running, StartError};
use crate::store::{self, NewContact, NewFactor, Store};
use crate::system::{NoRandomness, System};

/// The user that the gateway knows.
pub const USER: &str = "ANNA";
/// The password of [`USER`] at the simulated host.
pub const PASSWORD: &str = "GARDEN";
/// The address of [`USER`].
pub const ADDRESS: &str = "anna@example.com";
/// A user who can choose between a passcode by mail and an authenticator app.
pub const APP_USER: &str = "CARL";
/// The password of [`APP_USER`] at the simulated host.
pub const APP_PASSWORD: &str = "ORCHARD";
/// The address of [`APP_USER`].
const APP_ADDRESS: &str = "carl@example.com";
/// Bytes of the app's secret.
const SECRET: usize = 20;
/// A user that the host knows and the gateway does not.
pub const STRANGER: &str = "BERT";
/// The password of [`STRANGER`] at the simulated host.
pub const STRANGER_PASSWORD: &str = "MEADOW";

/// A demo is for trying things out again and again: what limits messages is as wide as can be.
const SETTINGS: [(&str, &str); 5] = [
    ("send.per-user", "20"),
    ("send.per-day", "200"),
    ("send.per-contact", "100"),
    ("send.per-contact-day", "1000"),
    ("send.pause", "0"),
];

/// What is asked of a stage.
#[derive(Debug)]
pub struct StageSettings {
    /// The gateway's port for terminals; 0 for any.
    pub port: u16,
    /// The gateway's port for FTP; 0 for any.
    pub ftp_port: u16,
    /// How the simulated host behaves. Users and journal are the stage's to fill in.
    pub host: HostSettings,
    /// Whether the passcode is asked for before the host sees the password.
    pub code_first: bool,
}

/// Why the demo does not start.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// One of the gateway's ports is taken.
    #[error("port {port} is taken by another program; end that, or take another port, for instance {option} {}", if *.port < u16::MAX { *.port + 1 } else { 2323 })]
    PortTaken {
        /// The port.
        port: u16,
        /// The option that chooses another.
        option: &'static str,
    },
    /// The temporary directory, the host's socket or the sink's cannot be made.
    #[error("the demo's surroundings cannot be made: {0}")]
    Io(#[from] io::Error),
    /// The configuration that the demo wrote is not taken.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The key cannot be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The mailer cannot be made.
    #[error(transparent)]
    Mailer(#[from] notify::Failure),
    /// There are no random numbers.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The gateway does not start.
    #[error(transparent)]
    Start(StartError),
}

/// The running demo. Dropped, it is gone, directory and all.
#[derive(Debug)]
pub struct Stage {
    /// Where terminals connect.
    pub gateway: SocketAddr,
    /// Where FTP clients connect.
    pub ftp: SocketAddr,
    /// The simulated host itself, past the gateway.
    pub host: SocketAddr,
    /// The simulated FTP host itself, past the gateway.
    pub ftp_host: SocketAddr,
    /// The mails that the gateway sent.
    pub mails: UnboundedReceiver<Mail>,
    /// What happens at the simulated host.
    pub journal: UnboundedReceiver<Happening>,
    app: Secret<Vec<u8>>,
    system: System,
    running: Running,
    directory: Directory,
    _end: DropGuard,
}

impl Stage {
    /// Starts all parts.
    ///
    /// # Errors
    ///
    /// When one of them does not start.
    pub async fn start(settings: StageSettings) -> Result<Self, StageError> {
        let end = CancellationToken::new();
        let system = System::new();
        let directory = Directory::make(&system)?;
        let (journal_in, journal) = unbounded_channel();
        let (mails_in, mails) = unbounded_channel();

        let host_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let ftp_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let sink_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let host = host_listener.local_addr()?;
        let ftp_host = ftp_listener.local_addr()?;
        let sink = sink_listener.local_addr()?;
        let simulated = HostSettings { journal: Some(journal_in), ..settings.host };
        let simulated = simulated
            .with_account(USER, PASSWORD)
            .with_account(APP_USER, APP_PASSWORD)
            .with_account(STRANGER, STRANGER_PASSWORD);
        let (simulated_ftp, ftp_end) = (FtpHost::new(simulated.clone(), system.clone()), end.clone());
        tokio::spawn(async move { simulated_ftp.serve(ftp_listener, ftp_end).await });
        let (simulated, host_end) = (Host::new(simulated), end.clone());
        tokio::spawn(async move { simulated.serve(host_listener, host_end).await });
        tokio::spawn(mail::serve(sink_listener, mails_in, end.clone()));

        let file = directory.configuration();
        let (ports, hosts) = ((settings.port, settings.ftp_port), (host, ftp_host));
        std::fs::write(&file, configuration(ports, settings.code_first, hosts, sink))?;
        let config = Config::load(&file)?;
        let open = config.open()?;
        let store = Store::open(&config.gateway.store, system.now()).await?;
        let key = Key::open(&config.gateway.key_file, &system)?;
        let judge = Judge::new(&key, None, None);
        let mut app = vec![0; SECRET];
        system.fill(&mut app)?;
        let app = Secret::new(app);
        register(&store, &system, &config.gateway.node, (&judge, &app)).await?;
        let (post, worker) = delivery::open(&config, &open, store, &key, system.clone())?;
        let guard = Guard::open(post, judge, key, system.clone()).await?;
        let running =
            serve::start(&config, open, guard, worker, system.clone()).await.map_err(|error| match error {
                StartError::Bind { error, address, .. } if error.kind() == io::ErrorKind::AddrInUse => {
                    let port = address.port();
                    StageError::PortTaken { port, option: if port == settings.port { "--port" } else { "--ftp-port" } }
                }
                error @ (StartError::Bind { .. }
                | StartError::Control(_)
                | StartError::NotReleased(_)
                | StartError::Signer(_)
                | StartError::Audit(_)) => StageError::Start(error),
            })?;
        let mut addresses = running.addresses().into_iter();
        let mut next = || addresses.next().unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let (gateway, ftp) = (next(), next());
        Ok(Self {
            gateway,
            ftp,
            host,
            ftp_host,
            mails,
            journal,
            app,
            system,
            running,
            directory,
            _end: end.drop_guard(),
        })
    }

    /// The gateway's configuration file.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.directory.configuration()
    }

    /// What the authenticator app of [`APP_USER`] shows now.
    #[must_use]
    pub fn app_code(&self) -> Secret<String> {
        let settings = totp::Settings::default();
        let step = u64::try_from(self.system.now().as_second()).unwrap_or(0) / u64::from(settings.period.max(1));
        let codes = hotp::Codes { algorithm: settings.algorithm, digits: settings.digits, secret: self.app.expose() };
        codes.code(step)
    }

    /// Ends all parts; those who are signed on get a farewell.
    pub async fn stop(self) {
        self.running.stop().await;
    }
}

/// Registers the demo's users; `app`: what the app of one of them has, and who seals it.
async fn register(
    store: &Store,
    system: &System,
    node: &str,
    app: (&Judge, &Secret<Vec<u8>>),
) -> Result<(), store::Error> {
    let entry = |detail: &str| Entry::new(system.now(), node, Event::Changed, Outcome::Noted).detail(detail);
    for (name, value) in SETTINGS {
        let entry = entry(&format!("set {name} to {value} for the demo"));
        store.set_setting(name.to_owned(), value.to_owned(), entry).await?;
    }
    for (name, address) in [(USER, ADDRESS), (APP_USER, APP_ADDRESS)] {
        let Ok(user) = name.parse::<User>() else { continue };
        let named = |detail: &str| entry(detail).user(Some(&user));
        store.add_user(user.clone(), false, "the demo's user".to_owned(), named("added for the demo")).await?;
        let contact = NewContact::vouched(ContactKind::Email, address);
        store.add_contact(user.clone(), contact, named("contact added for the demo"), Vec::new()).await?;
        if name == APP_USER {
            let new = NewFactor {
                user: user.clone(),
                label: "phone".to_owned(),
                parameters: Parameters::Totp(totp::Settings::default()),
                secret: Some(app.1.clone()),
                confirmed: true,
                used: None,
            };
            store.add_factor(new, app.0.sealer().clone(), named("app added for the demo")).await?;
        }
    }
    Ok(())
}

/// `ports` and `hosts`: of terminals and of FTP.
fn configuration(ports: (u16, u16), code_first: bool, hosts: (SocketAddr, SocketAddr), sink: SocketAddr) -> String {
    let order = if code_first { "code-first" } else { "password-first" };
    format!(
        "\
# Written by `sallyport demo`; gone when it ends.

[gateway]
name = \"DEMO\"
store = \"store.db\"
key_file = \"key\"
control = \"control.sock\"

[smtp]
host = \"{sink_host}\"
port = {sink_port}
tls = \"none\"
from = \"Sallyport <sallyport@example.com>\"

[[host]]
name = \"SIMULATR\"
address = \"{host}\"
order = \"{order}\"
[host.ftp]
address = \"{ftp_host}\"

[[listener]]
name = \"terminals\"
address = \"127.0.0.1:{port}\"
host = \"SIMULATR\"

[[listener]]
name = \"files\"
service = \"ftp\"
address = \"127.0.0.1:{ftp_port}\"
host = \"SIMULATR\"
",
        port = ports.0,
        ftp_port = ports.1,
        host = hosts.0,
        ftp_host = hosts.1,
        sink_host = sink.ip(),
        sink_port = sink.port(),
    )
}

/// A temporary directory; removed when dropped.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn make(system: &System) -> Result<Self, StageError> {
        let name: String = system.id()?.chars().take(12).collect();
        let path = std::env::temp_dir().join(format!("sallyport-demo-{name}"));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn configuration(&self) -> PathBuf {
        Path::join(&self.0, "sallyport.toml")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean: it is in its temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
