//! The gateway itself, as an administrator runs it: a configuration, users added with its own commands, a mail relay.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use sallyport::demo::mail::{self, Mail};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::server::{Folder, Tls, pause};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sallyport");
const WAIT: Duration = Duration::from_secs(20);

/// A host behind the gateway.
#[derive(Debug)]
pub(crate) struct HostPlan {
    name: String,
    address: SocketAddr,
    tls: Tls,
    more: String,
}

/// A place where clients connect to the gateway.
#[derive(Debug)]
pub(crate) struct ListenerPlan {
    name: String,
    host: String,
    tls: Tls,
    more: String,
}

/// What is to be started.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    hosts: Vec<HostPlan>,
    listeners: Vec<ListenerPlan>,
    settings: Vec<(String, String)>,
    limits: String,
    no_relay: bool,
}

impl Plan {
    pub(crate) fn new() -> Self {
        let settings = [
            ("send.per-user", "20"),
            ("send.per-day", "200"),
            ("ftp.window-uses", "1000"),
            ("lockout.delay", "0"),
            ("ftp.host-checks", "20"),
        ];
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { settings, ..Self::default() }
    }

    /// A host; `more`: further lines of its `[host.ftp]`.
    pub(crate) fn host(mut self, name: &str, address: SocketAddr, tls: Tls, more: &str) -> Self {
        self.hosts.push(HostPlan { name: name.to_owned(), address, tls, more: more.to_owned() });
        self
    }

    /// A listener; `more`: further lines of its `[listener.ftp]`.
    pub(crate) fn listener(mut self, name: &str, host: &str, tls: Tls, more: &str) -> Self {
        let (name, host, more) = (name.to_owned(), host.to_owned(), more.to_owned());
        self.listeners.push(ListenerPlan { name, host, tls, more });
        self
    }

    pub(crate) fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lines of `[limits]`.
    pub(crate) fn limits(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.limits);
        self
    }

    /// Nobody takes the mails.
    pub(crate) fn without_relay(mut self) -> Self {
        self.no_relay = true;
        self
    }

    fn text(&self, relay: u16, folder: &Folder) -> String {
        let (certificate, key) = (folder.certificate(), folder.key());
        let (certificate, key) = (certificate.display(), key.display());
        let mut text = format!(
            "[gateway]\nname = \"GATE1\"\nnode = \"node1\"\ntime_zone = \"UTC\"\nstore = \"store.db\"\nkey_file = \"key\"\n\
             control = \"control.sock\"\n[smtp]\nhost = \"127.0.0.1\"\nport = {relay}\ntls = \"none\"\ntimeout_seconds = 3\n\
             from = \"Sallyport <gateway@example.com>\"\n[limits]\n{}\n",
            self.limits
        );
        for HostPlan { name, address, tls, more } in &self.hosts {
            let (tls, trust) = match tls {
                Tls::Plain => ("off", String::new()),
                Tls::Explicit => ("explicit", format!("[host.ftp.trust]\nca_file = \"{certificate}\"\n")),
                Tls::Implicit => ("implicit", format!("[host.ftp.trust]\nca_file = \"{certificate}\"\n")),
            };
            text += &format!(
                "[[host]]\nname = \"{name}\"\naddress = \"127.0.0.1\"\n[host.ftp]\naddress = \"{address}\"\ntls = \"{tls}\"\n{more}\n{trust}"
            );
        }
        for ListenerPlan { name, host, tls, more } in &self.listeners {
            let (tls, files) = match tls {
                Tls::Plain => ("off", String::new()),
                Tls::Explicit => {
                    ("required", format!("[listener.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n"))
                }
                Tls::Implicit => {
                    ("implicit", format!("[listener.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n"))
                }
            };
            text += &format!(
                "[[listener]]\nname = \"{name}\"\nservice = \"ftp\"\naddress = \"127.0.0.1:0\"\nhost = \"{host}\"\n{files}\
                 [listener.ftp]\ntls = \"{tls}\"\n{more}\n"
            );
        }
        text
    }

    /// Starts it, with these users; each has the address `USER@example.com`.
    pub(crate) fn start<'a>(&self, folder: &'a Folder, users: &[&str]) -> Stage<'a> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, mails) = unbounded_channel();
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let relay = listener.local_addr().unwrap().port();
        if !self.no_relay {
            runtime.spawn(mail::serve(listener, sender, CancellationToken::new()));
        }
        fs::write(folder.join("sallyport.toml"), self.text(relay, folder)).unwrap();
        let command = |arguments: &[&str]| {
            let output = Command::new(PROGRAM)
                .args(arguments)
                .current_dir(folder.path())
                .env_remove("SALLYPORT_CONFIG")
                .output()
                .unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        for user in users {
            command(&["user", "add", user, "--email", &format!("{user}@example.com"), "--verified"]);
        }
        for (name, value) in &self.settings {
            command(&["settings", "set", name, value]);
        }
        let log = fs::File::create(folder.join("log")).unwrap();
        let process = Command::new(PROGRAM)
            .args(["serve", "--log", "debug"])
            .current_dir(folder.path())
            .env_remove("SALLYPORT_CONFIG")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut stage = Stage { folder, process, ports: BTreeMap::new(), mails: Mutex::new(mails), runtime };
        let output = stage.process.stdout.take().unwrap();
        for line in BufReader::new(output).lines().map_while(Result::ok).take_while(|line| line != "ready") {
            let (name, rest) = line.split_once(':').unwrap();
            let address = rest.split_whitespace().find_map(|word| word.parse::<SocketAddr>().ok()).unwrap();
            stage.ports.insert(name.to_owned(), address.port());
        }
        assert_eq!(stage.ports.len(), self.listeners.len(), "the gateway does not start");
        stage
    }
}

/// A running gateway.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    folder: &'a Folder,
    process: Child,
    ports: BTreeMap<String, u16>,
    mails: Mutex<UnboundedReceiver<Mail>>,
    runtime: tokio::runtime::Runtime,
}

impl Drop for Stage<'_> {
    #[expect(clippy::print_stderr, reason = "the log tells why a test failed")]
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the gateway's log ends with:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

impl Stage<'_> {
    /// The port of a listener.
    pub(crate) fn port(&self, name: &str) -> u16 {
        self.ports[name]
    }

    /// The passcode in the next mail.
    pub(crate) fn passcode(&self) -> String {
        let mut mails = self.mails.lock().unwrap();
        loop {
            let mail = self.runtime.block_on(async { tokio::time::timeout(WAIT, mails.recv()).await });
            let mail = mail.expect("no mail came").expect("the relay is there");
            // Alerts of wrong passcodes hold none.
            if let Some(code) = sallyport::demo::passcode(&mail) {
                return code;
            }
        }
    }

    /// How many mails with passcodes came that nobody looked at; they count as looked at then.
    pub(crate) fn unread(&self) -> usize {
        // What is on its way comes soon.
        pause(Duration::from_millis(300));
        let mut mails = self.mails.lock().unwrap();
        let come = std::iter::from_fn(|| mails.try_recv().ok());
        come.filter(|mail| sallyport::demo::passcode(mail).is_some()).count()
    }

    /// The audit's reasons, oldest first.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let output = Command::new(PROGRAM)
            .args(["audit", "list", "--json"])
            .current_dir(self.folder.path())
            .env_remove("SALLYPORT_CONFIG")
            .output()
            .unwrap();
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        list.as_array().unwrap().iter().map(|entry| entry["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }
}
