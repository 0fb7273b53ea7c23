//! A whole site for a test: a simulated host, a mail relay, and the gateway as its own process in front of them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use proxy_tn5250::input::Aid;
use sallyport::demo::mail::{self, Mail};
use sallyport::demo::{FtpHost, Host, HostSettings};
use sallyport::system::System;
use sallyport::terminal::{Options, Session};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// The gateway's user of every site, and the password at its host.
pub(crate) const USER: &str = "ANNA";
/// The password of [`USER`].
pub(crate) const PASSWORD: &str = "GARDEN";

const PROGRAM: &str = env!("CARGO_BIN_EXE_sallyport");

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A terminal of a test.
pub(crate) type Terminal = Session<tokio::net::TcpStream>;

/// What is special about a site.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// How the host behaves.
    pub(crate) host: HostSettings,
    /// Whether there is a host at all.
    pub(crate) host_up: bool,
    /// Whether there is a mail relay.
    pub(crate) mail_up: bool,
    /// Whether TLS is spoken on both sides.
    pub(crate) tls: bool,
    /// Lines for the host's part of the configuration.
    pub(crate) host_lines: &'static str,
    /// Lines for the limits.
    pub(crate) limits: &'static str,
    /// Whole tables for the end of the configuration.
    pub(crate) more: String,
    /// Whether the host speaks FTP, too, and the gateway before it.
    pub(crate) ftp: bool,
}

impl Default for Plan {
    fn default() -> Self {
        let host = HostSettings::default().with_account(USER, PASSWORD);
        Self {
            host,
            host_up: true,
            mail_up: true,
            tls: false,
            host_lines: "",
            limits: "",
            more: String::new(),
            ftp: false,
        }
    }
}

/// A running site.
#[derive(Debug)]
pub(crate) struct Site {
    /// Where terminals connect.
    pub(crate) gateway: SocketAddr,
    /// Where metrics and health are told, if the plan's limits go on with a table for them.
    pub(crate) metrics: Option<SocketAddr>,
    /// Where FTP clients connect, if they may.
    pub(crate) ftp: Option<SocketAddr>,
    folder: PathBuf,
    /// The gateway.
    pub(crate) process: Child,
    mails: Mutex<mpsc::Receiver<Mail>>,
    runtime: Option<Runtime>,
}

impl Site {
    /// Starts all parts and registers [`USER`].
    pub(crate) fn start(plan: Plan) -> Self {
        Self::start_with(plan, |_| ())
    }

    /// The same, with files that `prepare` puts into the site's folder.
    pub(crate) fn start_with(plan: Plan, prepare: impl FnOnce(&Path)) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("sallyport-site-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        prepare(&folder);
        let runtime = Runtime::new().unwrap();
        let bind = || runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (host_listener, mail_listener) = (bind(), bind());
        let (host, relay) = (host_listener.local_addr().unwrap(), mail_listener.local_addr().unwrap());
        let (sender, mails) = mpsc::channel();
        let acceptor = plan.tls.then(|| acceptor(&folder));
        if plan.host_up {
            serve_host(&runtime, host_listener, Host::new(plan.host.clone()), acceptor);
        }
        if plan.mail_up {
            let (inbox, mut arrived) = tokio::sync::mpsc::unbounded_channel();
            runtime.spawn(mail::serve(mail_listener, inbox, CancellationToken::new()));
            runtime.spawn(async move {
                while let Some(mail) = arrived.recv().await {
                    // The test may have seen enough.
                    let _ = sender.send(mail);
                }
            });
        }
        let mut text = configuration(&plan, host, relay);
        if plan.ftp {
            let listener = bind();
            let address = listener.local_addr().unwrap();
            let server = FtpHost::new(plan.host.clone(), System::new());
            runtime.spawn(async move { server.serve(listener, CancellationToken::new()).await });
            text = text.replace("[[listener]]", &format!("[host.ftp]\naddress = \"{address}\"\n[[listener]]"));
            text += "[[listener]]\nname = \"files\"\nservice = \"ftp\"\naddress = \"127.0.0.1:0\"\nhost = \"HOST1\"\n";
        }
        std::fs::write(folder.join("sallyport.toml"), text + &plan.more).unwrap();
        let (process, gateway, ftp, metrics) = serve(&folder);
        let site = Self { gateway, ftp, metrics, folder, process, mails: Mutex::new(mails), runtime: Some(runtime) };
        site.admin(&["user", "add", USER, "--email", "anna@example.com", "--verified"]);
        site.admin(&["settings", "set", "send.pause", "0"]);
        site
    }

    /// Runs a verb of the administrator's; gives what it prints.
    pub(crate) fn admin(&self, arguments: &[&str]) -> String {
        let output = Command::new(PROGRAM).args(arguments).arg("--config").arg(self.configuration()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "sallyport {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, whatever comes of it: the exit code, and all that it prints.
    pub(crate) fn tries(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(PROGRAM).args(arguments).arg("--config").arg(self.configuration()).output().unwrap();
        let mut said = String::from_utf8(output.stdout).unwrap();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap(), said)
    }

    /// The newest audit entries, as text.
    pub(crate) fn audit(&self) -> String {
        self.admin(&["audit", "list", "--json"])
    }

    /// The next mail for which `is_it` holds; those before it are gone.
    pub(crate) fn mail(&self, what: &str, is_it: impl Fn(&Mail) -> bool) -> Mail {
        let mails = self.mails.lock().unwrap();
        loop {
            let mail = mails.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no mail came: {what}"));
            if is_it(&mail) {
                return mail;
            }
        }
    }

    /// The passcode in the next mail.
    pub(crate) fn passcode(&self) -> String {
        // Alerts of wrong passcodes hold none.
        let mails = self.mails.lock().unwrap();
        loop {
            let mail = mails.recv_timeout(PATIENCE).expect("a mail");
            if let Some(passcode) = sallyport::demo::passcode(&mail) {
                return passcode;
            }
        }
    }

    /// Whether a mail came that nobody asked for.
    pub(crate) fn has_mail(&self) -> bool {
        let mails = self.mails.lock().unwrap();
        mails.try_iter().any(|mail| sallyport::demo::passcode(&mail).is_some())
    }

    /// Whether a mail comes.
    pub(crate) fn has_mail_soon(&self) -> bool {
        self.mails.lock().unwrap().recv_timeout(PATIENCE).is_ok()
    }

    /// The gateway's configuration file.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder.join("sallyport.toml")
    }

    /// A file of the site's.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Ends the gateway and starts it anew; store and key stay.
    pub(crate) fn restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        (self.process, self.gateway, self.ftp, self.metrics) = serve(&self.folder);
    }

    /// A terminal at which [`USER`] has signed on, once it shows `expected`.
    pub(crate) async fn signs_on(&self, expected: &str) -> Terminal {
        let stream = tokio::net::TcpStream::connect(self.gateway).await.unwrap();
        let mut terminal = Session::new(stream, Options::default(), PATIENCE);
        terminal.wait_for_text("Sign On").await.unwrap();
        terminal.fill(USER).unwrap();
        terminal.type_text(PASSWORD).unwrap();
        terminal.press(Aid::ENTER).await.unwrap();
        terminal.wait_for_text(expected).await.unwrap();
        terminal
    }

    /// Runs a future on the site's runtime.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.as_ref().unwrap().block_on(future)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn serve_host(runtime: &Runtime, listener: TcpListener, host: Host, acceptor: Option<TlsAcceptor>) {
    let host = Arc::new(host);
    runtime.spawn(async move {
        let Some(acceptor) = acceptor else {
            return drop(host.serve(listener, CancellationToken::new()).await);
        };
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, host) = (acceptor.clone(), Arc::clone(&host));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    host.session(stream).await;
                }
            });
        }
    });
}

/// A self-signed certificate in the folder, for both sides, and who speaks for it.
fn acceptor(folder: &Path) -> TlsAcceptor {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let chain = vec![made.cert.der().clone()];
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn configuration(plan: &Plan, host: SocketAddr, relay: SocketAddr) -> String {
    let (host_tls, listener_tls) = if plan.tls {
        (
            "[host.tls]\nca_file = \"certificate.pem\"\n",
            "[listener.tls]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n",
        )
    } else {
        ("", "")
    };
    let (host_lines, limits, relay_host, relay_port) = (plan.host_lines, plan.limits, relay.ip(), relay.port());
    format!(
        "\
[gateway]
name = \"GATE1\"
store = \"store.db\"
key_file = \"gateway.key\"
control = \"control.sock\"

[smtp]
host = \"{relay_host}\"
port = {relay_port}
tls = \"none\"
from = \"Sallyport <sallyport@example.com>\"
timeout_seconds = 3

[[host]]
name = \"HOST1\"
address = \"{host}\"
{host_lines}
{host_tls}
[[listener]]
name = \"terminals\"
address = \"127.0.0.1:0\"
host = \"HOST1\"
{listener_tls}
[limits]
{limits}
"
    )
}

/// Starts the gateway and waits until it is ready; gives the addresses of its listeners, for terminals and for FTP, and of its metrics.
fn serve(folder: &Path) -> (Child, SocketAddr, Option<SocketAddr>, Option<SocketAddr>) {
    let mut process = Command::new(PROGRAM)
        .args(["serve", "--log", "warn", "--config"])
        .arg(folder.join("sallyport.toml"))
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut said: Vec<String> = Vec::new();
    for line in lines {
        let is_ready = line == "ready";
        said.push(line);
        if is_ready {
            break;
        }
    }
    let log = || std::fs::read_to_string(folder.join("log")).unwrap();
    assert!(said.last().is_some_and(|line| line == "ready"), "the gateway does not start: {}", log());
    let address = |line: &String| line.split_whitespace().find_map(|word| word.parse::<SocketAddr>().ok());
    let (mut metrics, mut listeners) = (None, Vec::new());
    for line in &said {
        match address(line) {
            Some(address) if line.starts_with("metrics ") => metrics = Some(address),
            Some(address) => listeners.push(address),
            None => {}
        }
    }
    let gateway = *listeners.first().expect("a listener");
    (process, gateway, listeners.get(1).copied(), metrics)
}
