//! Running it: metrics, health, log levels, the doctor, reload, taking over, and sessions of users who are disabled.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use proxy_tn5250::input::Aid;
use rustix::process::{Pid, Signal, kill_process};
use sallyport::terminal::{Options, Session};
use serde_json::Value;

use crate::support::site::{PASSWORD, Plan, Site, Terminal, USER};
use crate::support::{pause, program, skip};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sallyport");
const METRICS: &str = "connections = 100\n[metrics]\naddress = \"127.0.0.1:0\"\n";

/// A site where everybody is let in.
fn open_site(plan: Plan) -> Site {
    let site = Site::start(plan);
    site.admin(&["network", "add", "127.0.0.0/8", "exempt"]);
    site
}

async fn sign_on(site: &Site) -> Terminal {
    site.signs_on("Simulated Main Menu").await
}

/// Status and body.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Waits until `is_so`, for 20 seconds at most.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..400 {
        if is_so() {
            return;
        }
        pause(Duration::from_millis(50));
    }
    panic!("it does not come about: {what}");
}

/// The value of a series.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{page}")).parse().unwrap()
}

#[test]
fn metrics_are_scraped_and_tell_what_happens_but_not_who() {
    let site = open_site(Plan { limits: METRICS, ..Plan::default() });
    let address = site.metrics.unwrap();
    site.block_on(async {
        let mut terminal = sign_on(&site).await;
        let page = tokio::task::block_in_place(|| get(address, "/metrics").1);
        assert_eq!(value(&page, "sallyport_sessions{service=\"telnet\",state=\"admitted\"}"), 1.0);
        assert_eq!(value(&page, "sallyport_connections_open{listener=\"terminals\",service=\"telnet\"}"), 1.0);
        terminal.press(Aid::F3).await.unwrap();
    });
    until("the end is counted", || {
        get(address, "/metrics")
            .1
            .contains("sallyport_connections_ended_total{listener=\"terminals\",service=\"telnet\"")
    });
    let (status, page) = get(address, "/metrics");
    assert_eq!(status, 200);
    let decided = "sallyport_decisions_total{service=\"telnet\",effect=\"allow\",reason=\"network-exempt\"}";
    assert_eq!(value(&page, decided), 1.0);
    assert!(value(&page, "sallyport_store_call_seconds_count{call=\"write\"}") >= 3.0);
    assert!(value(&page, "sallyport_audit_entries_total") >= 5.0);
    assert!(!page.contains(USER) && !page.contains("127.0.0.1"), "who it was is nobody's business here: {page}");
    // A foreign client and the rules of the format: each line is a comment or a series and a number.
    let Some(curl) = program("curl", "CURL") else { return skip("metrics", "curl is not installed") };
    let output = Command::new(curl).args(["-fsS", &format!("http://{address}/metrics")]).output().unwrap();
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && page.ends_with("# EOF\n"), "{page}");
    let mut samples = 0;
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (series, number) = line.rsplit_once(' ').unwrap();
        number.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
        let name = series.split('{').next().unwrap();
        assert!(name.starts_with("sallyport_") && series.matches('{').count() <= 1, "{line}");
        samples += 1;
    }
    assert!(samples > 30, "{page}");
}

#[test]
fn readiness_ends_with_the_store_and_comes_back() {
    let site = Site::start(Plan { limits: METRICS, ..Plan::default() });
    let address = site.metrics.unwrap();
    let failing = |name: &str| {
        let (status, body) = get(address, "/readyz");
        let body: Value = serde_json::from_str(&body).unwrap();
        let checks = body["checks"].as_array().unwrap();
        let is_failing = checks.iter().any(|check| check["name"] == name && check["ok"] == false);
        assert_eq!(status, if body["ready"] == true { 200 } else { 503 });
        is_failing
    };
    until("it is ready", || get(address, "/readyz").0 == 200);
    let lock = rusqlite::Connection::open(site.file("store.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    until("the store is locked", || failing("store"));
    assert_eq!(get(address, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(value(&get(address, "/metrics").1, "sallyport_ready"), 0.0);
    lock.execute_batch("ROLLBACK").unwrap();
    until("it is ready again", || get(address, "/readyz").0 == 200);
    std::fs::rename(site.file("store.db"), site.file("moved.db")).unwrap();
    until("the store is gone", || failing("store"));
    // Nobody gets as far as the host, whose greeting would come otherwise.
    let mut stream = TcpStream::connect(site.gateway).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(matches!(stream.read(&mut [0; 3]), Ok(0)), "let in without an entry anybody finds");
    std::fs::rename(site.file("moved.db"), site.file("store.db")).unwrap();
    std::fs::rename(site.file("gateway.key"), site.file("moved.key")).unwrap();
    until("the key is gone", || failing("key") && !failing("store"));
}

#[test]
fn log_levels_change_while_it_runs() {
    let site = Site::start(Plan::default());
    let log = || std::fs::read_to_string(site.file("log")).unwrap();
    let connect = || drop(TcpStream::connect(site.gateway).unwrap());
    let closed = || site.audit().matches("connection-closed").count();
    connect();
    until("it is closed", || closed() == 1);
    assert!(!log().contains("connection closed"), "{}", log());
    let shown = site.admin(&["log", "level", "warn,sallyport::serve=info"]);
    assert_eq!(shown, "The gateway logs warn,sallyport::serve=info; configured is warn.\n");
    connect();
    until("it is logged", || log().contains("connection closed"));
    let (code, said) = site.tries(&["log", "level", "sallyport=loud"]);
    assert!(code == 2 && said.contains("are no log levels"), "{said}");
    assert_eq!(site.admin(&["log", "reset"]), "The gateway logs warn, as configured.\n");
    let before = log().matches("connection closed").count();
    connect();
    until("it is closed", || closed() == 3);
    assert_eq!(log().matches("connection closed").count(), before);
    assert!(site.audit().contains("logs warn,sallyport::serve=info instead of warn; by user id"));
}

#[test]
fn who_is_disabled_in_the_store_by_anybody_is_put_out() {
    let site = open_site(Plan::default());
    site.block_on(async {
        let mut terminal = sign_on(&site).await;
        let store = rusqlite::Connection::open(site.file("store.db")).unwrap();
        store.execute("UPDATE users SET enabled = 0 WHERE name = ?1", [USER]).unwrap();
        terminal.wait_for_text("The session was ended by an operator.").await.unwrap();
    });
    until("it is in the audit", || site.audit().contains("the user was disabled or removed"));
    let by_whom = site.audit();
    assert_eq!(by_whom.matches("\"session-ended\"").count(), 1, "{by_whom}");
}

#[test]
fn sessions_are_shown_and_ended_by_what_they_are() {
    let site = open_site(Plan { tls: true, ..Plan::default() });
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(site.file("certificate.pem")).unwrap();
    let certificate = rustls::pki_types::pem::PemObject::from_pem_slice(&pem).unwrap();
    roots.add(certificate).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    site.block_on(async {
        let stream = tokio::net::TcpStream::connect(site.gateway).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        let mut terminal = Session::new(stream, Options::default(), Duration::from_secs(20));
        terminal.wait_for_text("Sign On").await.unwrap();
        terminal.fill(USER).unwrap();
        terminal.type_text(PASSWORD).unwrap();
        terminal.press(Aid::ENTER).await.unwrap();
        terminal.wait_for_text("Simulated Main Menu").await.unwrap();
        let list: Value = serde_json::from_str(&site.admin(&["session", "list", "--user", USER, "--json"])).unwrap();
        let id = list[0]["id"].as_str().unwrap();
        let shown: Value = serde_json::from_str(&site.admin(&["session", "show", &id[..8], "--json"])).unwrap();
        assert_eq!(shown["admitted"]["reason"], "network-exempt");
        assert!(shown["client_tls"].as_str().unwrap().starts_with("TLSv1_3 TLS13_"), "{shown}");
        assert!(shown["host_tls"].as_str().unwrap().starts_with("TLSv1_3 "), "{shown}");
        let text = site.admin(&["session", "show", id]);
        assert!(text.contains("because network-exempt") && text.contains("User        ANNA"), "{text}");
        assert_eq!(site.tries(&["session", "show", "0123456789abcdef"]).0, 3);
        assert_eq!(site.admin(&["session", "list", "--host", "OTHER", "--json"]), "[]\n");
        assert_eq!(site.admin(&["session", "end", "--source", "10.0.0.0/8"]), "0 sessions ended.\n");
        assert_eq!(site.tries(&["session", "end"]).0, 2);
        assert_eq!(site.admin(&["session", "end", "--user", "anna"]), "1 session ended.\n");
        terminal.wait_for_text("The session was ended by an operator.").await.unwrap();
    });
}

#[test]
fn a_wrong_configuration_changes_nothing_and_a_right_one_counts() {
    let site = open_site(Plan::default());
    let right = std::fs::read_to_string(site.configuration()).unwrap();
    let wrong = right.replace("name = \"terminals\"", "name = \"terminals\"\ncolour = \"green\"");
    let line = wrong.lines().position(|line| line.starts_with("colour")).unwrap() + 1;
    site.block_on(async {
        let mut session = sign_on(&site).await;
        std::fs::write(site.configuration(), &wrong).unwrap();
        // The program reads the file for the socket's place: who calls sees the mistake as well as who runs.
        kill_process(Pid::from_child(&site.process), Signal::HUP).unwrap();
        let log = || std::fs::read_to_string(site.file("log")).unwrap();
        until("it is logged", || log().contains(&format!("sallyport.toml:{line}:1")));
        let (code, said) = site.tries(&["reload"]);
        assert!(code == 2 && said.contains("unknown key `colour`"), "{said}");
        std::fs::write(site.configuration(), &right).unwrap();
        let told = site.audit();
        assert!(
            told.contains("reload-refused") && told.contains(&format!("sallyport.toml:{line}:1: unknown key")),
            "{told}"
        );
        sign_on(&site).await;

        // What only the gateway finds out: a certificate that is not there.
        let tls = "\n[listener.tls]\ncertificate = \"none.pem\"\nkey = \"none.pem\"\n[limits]";
        std::fs::write(site.configuration(), right.replace("[limits]", tls)).unwrap();
        let (code, said) = site.tries(&["reload"]);
        assert!(code == 1 && said.contains("none.pem") && said.contains("cannot be read"), "{said}");
        sign_on(&site).await;

        let second = "\n[[listener]]\nname = \"more\"\naddress = \"127.0.0.1:0\"\nhost = \"HOST1\"\n[limits]";
        let more = right.replace("[limits]", second).replace("name = \"GATE1\"", "name = \"GATE2\"");
        std::fs::write(site.configuration(), &more).unwrap();
        let changes: Value = serde_json::from_str(&site.admin(&["reload", "--json"])).unwrap();
        assert_eq!((&changes["added"][0], &changes["kept"][0]), (&"more".into(), &"terminals".into()));
        assert_eq!(changes["restart_needed"][0], "[gateway]");
        let status: Value = serde_json::from_str(&site.admin(&["status", "--json"])).unwrap();
        let address: SocketAddr = status[0]["listeners"][1][1].as_str().unwrap().parse().unwrap();
        TcpStream::connect(address).unwrap().read_exact(&mut [0; 3]).unwrap();
        sign_on(&site).await;

        std::fs::write(site.configuration(), right.replace("[limits]", "[limits]\nunauthenticated = 1")).unwrap();
        let text = site.admin(&["reload"]);
        assert!(text.contains("gone: more; kept: terminals"), "{text}");
        until("the listener is gone", || TcpStream::connect(address).is_err());
        let mut held = None;
        until("there is a place", || {
            let stream = held.insert(TcpStream::connect(site.gateway).unwrap());
            stream.read_exact(&mut [0; 3]).is_ok()
        });
        let mut said = Vec::new();
        let _ = TcpStream::connect(site.gateway).unwrap().read_to_end(&mut said);
        assert!(said.is_empty(), "the new limit counts");
        drop(held);
        session.press(Aid::F3).await.unwrap();
        session.wait_for_text("Sign On").await.unwrap();
    });
    let told = site.audit();
    assert!(told.contains("\"reloaded\"") && told.contains("a restart is needed for [gateway]"), "{told}");
}

/// A process that is ended with the test, though it is no child of it.
struct Stranger(u32);

impl Stranger {
    fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_raw(self.0.try_into().unwrap()).unwrap(), signal);
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn is_running(process: &mut Child) -> bool {
    process.try_wait().unwrap().is_none()
}

#[test]
fn a_restart_under_load_refuses_nobody_and_keeps_sessions() {
    let limits = "connects_per_minute = 1000000\ndrain_seconds = 60\n[metrics]\naddress = \"127.0.0.1:0\"\n";
    let mut site = open_site(Plan { limits, ..Plan::default() });
    let mut session = site.block_on(sign_on(&site));
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicU32::new(0));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (stop, served, gateway) = (Arc::clone(&stop), Arc::clone(&served), site.gateway);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut stream = TcpStream::connect(gateway).expect("refused");
                    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    // The first words of the host.
                    stream.read_exact(&mut [0; 3]).expect("lost");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut successors = Vec::new();
    for _ in 0..2 {
        let before = served.load(Ordering::Relaxed);
        until("connections are served", || served.load(Ordering::Relaxed) > before + 50);
        let status: Value = serde_json::from_str(&site.admin(&["restart", "--json"])).unwrap();
        successors.push(Stranger(status["process"].as_u64().unwrap().try_into().unwrap()));
    }
    let before = served.load(Ordering::Relaxed);
    until("connections are served", || served.load(Ordering::Relaxed) > before + 50);
    stop.store(true, Ordering::Relaxed);
    for thread in load {
        thread.join().expect("no connection was refused or lost");
    }
    assert!(is_running(&mut site.process), "the first process has a session");
    let first = site.process.id();
    let list: Value = serde_json::from_str(&site.admin(&["session", "list", "--user", USER, "--json"])).unwrap();
    assert_eq!(list[0]["process"].as_u64(), Some(first.into()), "{list}");
    let status: Value = serde_json::from_str(&site.admin(&["status", "--json"])).unwrap();
    let processes: Vec<_> =
        status.as_array().unwrap().iter().map(|one| (one["process"].as_u64().unwrap(), &one["is_draining"])).collect();
    assert_eq!(processes.first(), Some(&(successors[1].0.into(), &Value::Bool(false))), "{status}");
    assert!(processes.contains(&(first.into(), &Value::Bool(true))), "{status}");
    assert_eq!(get(site.metrics.unwrap(), "/readyz").0, 200, "metrics came along");
    // The session goes on, in the process that began it.
    site.block_on(async {
        session.press(Aid::F3).await.unwrap();
        session.wait_for_text("Sign On").await.unwrap();
        drop(session);
    });
    until("the first process ends by itself", || !is_running(&mut site.process));
    assert_eq!(site.process.wait().unwrap().code(), Some(0));
    let told = site.admin(&["audit", "list", "--event", "gateway-started", "--json"]);
    assert!(told.contains(&format!("took over from process {first}")), "{told}");
    site.block_on(sign_on(&site));
    successors[1].signal(Signal::TERM);
    until("nobody runs any more", || site.tries(&["status"]).0 == 1);
}

/// Begins to sign on: password keyed, prompt for the passcode there. Then keys the passcode of the next mail.
async fn prove(site: &Site, mut terminal: Terminal) -> Terminal {
    terminal.fill(USER).unwrap();
    terminal.type_text(PASSWORD).unwrap();
    terminal.press(Aid::ENTER).await.unwrap();
    terminal.wait_for_text("asscode").await.unwrap();
    terminal.type_text(&site.passcode()).unwrap();
    terminal.press(Aid::ENTER).await.unwrap();
    terminal.wait_for_text("Simulated Main Menu").await.unwrap();
    terminal
}

#[test]
fn a_successor_delivers_and_passes_the_audit_on_for_both() {
    let limits = "drain_seconds = 60\n[audit]\nmode = \"strict\"\n[[audit.sink]]\nname = \"file\"\nfile = \"audit.jsonl\"\n\
                  required = true\nbehind_seconds = 10\n";
    let site = Site::start(Plan { limits, ..Plan::default() });
    let terminal = || async {
        let stream = tokio::net::TcpStream::connect(site.gateway).await.unwrap();
        let mut terminal = Session::new(stream, Options::default(), Duration::from_secs(20));
        terminal.wait_for_text("Sign On").await.unwrap();
        terminal
    };
    let before = site.block_on(async { prove(&site, terminal().await).await });
    // At the sign-on display of the first process, whose passcode the second one will have to send.
    let waiting = site.block_on(terminal());
    let status: Value = serde_json::from_str(&site.admin(&["restart", "--json"])).unwrap();
    let successor = Stranger(status["process"].as_u64().unwrap().try_into().unwrap());
    let answers = || {
        let (code, said) = site.tries(&["status", "--json"]);
        code == 0
            && serde_json::from_str::<Value>(&said)
                .is_ok_and(|said| said[0]["process"].as_u64() == Some(successor.0.into()))
    };
    until("the second process has taken over", answers);
    let waiting = site.block_on(prove(&site, waiting));
    let after = site.block_on(async { prove(&site, terminal().await).await });
    site.block_on(async { drop((before, waiting, after)) });
    let line = |event: &str| {
        let said = std::fs::read_to_string(site.file("audit.jsonl")).unwrap_or_default();
        said.lines().filter(|line| line.contains(&format!("\"{event}\""))).count()
    };
    until("all three ends are passed on", || line("connection-closed") >= 3);
    until("the first process has ended", || line("gateway-stopped") == 1);
    let said = std::fs::read_to_string(site.file("audit.jsonl")).unwrap();
    let ids: Vec<_> = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    let mut once = ids.clone();
    once.dedup();
    assert_eq!(ids, once, "each entry once, in order");
    assert_eq!(line("passcode-sent"), 3);
    let audit = site.audit();
    for fault in ["delivery-unknown", "delivery-lost", "audit-sink-behind", "store-unavailable"] {
        assert!(!audit.contains(fault), "{fault}: {audit}");
    }
    let (code, said) = site.tries(&["audit", "verify"]);
    assert_eq!(code, 0, "{said}");
    successor.signal(Signal::TERM);
    until("nobody runs any more", || site.tries(&["status"]).0 == 1);
}

#[test]
fn a_process_that_cannot_start_takes_nothing_over() {
    let site = open_site(Plan::default());
    let right = std::fs::read_to_string(site.configuration()).unwrap();
    // Another process with a configuration of its own, but this gateway's control socket.
    let wrong = right.replace("store.db", "other.db").replace("gateway.key", "short.key");
    std::fs::write(site.file("other.toml"), wrong).unwrap();
    std::fs::write(site.file("short.key"), "short").unwrap();
    std::fs::set_permissions(site.file("short.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let take_over = |file: &str| {
        let mut command = Command::new(PROGRAM);
        command
            .args(["serve", "--take-over", "--config"])
            .arg(site.file(file))
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    };
    assert_eq!(take_over("other.toml").status().unwrap().code(), Some(1));
    let status: Value = serde_json::from_str(&site.admin(&["status", "--json"])).unwrap();
    assert_eq!(status[0]["process"].as_u64(), Some(site.process.id().into()));
    assert_eq!(status[0]["is_draining"], false);
    site.block_on(sign_on(&site));
    // One that vanishes in the middle of it.
    let mut stream = std::os::unix::net::UnixStream::connect(site.file("control.sock")).unwrap();
    stream.write_all(b"{\"command\":\"take-over\"}\n").unwrap();
    stream.read_exact(&mut [0; 20]).unwrap();
    drop(stream);
    site.block_on(sign_on(&site));
}

#[test]
fn the_service_manager_is_told() {
    let site = Site::start(Plan::default());
    let told = UnixDatagram::bind(site.file("notify")).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let text = std::fs::read_to_string(site.configuration()).unwrap().replace("control.sock", "second.sock");
    std::fs::write(site.file("second.toml"), text.replace("[limits]", "[limits]\nstop_seconds = 1")).unwrap();
    let mut gateway = Command::new(PROGRAM)
        .args(["serve", "--config"])
        .arg(site.file("second.toml"))
        .env("NOTIFY_SOCKET", site.file("notify"))
        .env("WATCHDOG_USEC", "400000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let expect = |state: &str| {
        let mut bytes = [0; 512];
        for _ in 0..200 {
            let length = told.recv(&mut bytes).expect("a word");
            if std::str::from_utf8(&bytes[..length]).unwrap().lines().any(|line| line == state) {
                return;
            }
        }
        panic!("never said: {state}");
    };
    expect("READY=1");
    expect("WATCHDOG=1");
    kill_process(Pid::from_child(&gateway), Signal::HUP).unwrap();
    expect("RELOADING=1");
    expect("READY=1");
    kill_process(Pid::from_child(&gateway), Signal::TERM).unwrap();
    expect("STOPPING=1");
    assert_eq!(gateway.wait().unwrap().code(), Some(0));
}

#[test]
fn sockets_of_systemd_are_taken() {
    let Some(activate) = program("systemd-socket-activate", "SYSTEMD_SOCKET_ACTIVATE") else {
        return skip("socket activation", "systemd-socket-activate is not installed");
    };
    let site = Site::start(Plan::default());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = std::fs::read_to_string(site.configuration()).unwrap().replace("control.sock", "second.sock");
    std::fs::write(site.file("second.toml"), text.replace("127.0.0.1:0", &free.to_string())).unwrap();
    let mut gateway = Command::new(activate)
        .args(["-l", &free.to_string(), PROGRAM, "serve", "--config"])
        .arg(site.file("second.toml"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("systemd listens", || TcpStream::connect(free).is_ok());
    // The first connection starts the gateway, which could not bind what systemd has bound.
    let mut stream = TcpStream::connect(free).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let greeted = stream.read_exact(&mut [0; 3]);
    let _ = gateway.kill();
    let _ = gateway.wait();
    greeted.expect("it waited in the socket");
}

#[test]
fn stopping_lets_sessions_end_and_a_second_signal_cuts() {
    let mut site = open_site(Plan { limits: "stop_seconds = 600\n", ..Plan::default() });
    let session = site.block_on(sign_on(&site));
    let process = Pid::from_child(&site.process);
    kill_process(process, Signal::TERM).unwrap();
    until("nobody is accepted", || {
        let connected = TcpStream::connect_timeout(&site.gateway, Duration::from_secs(1));
        connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    });
    assert!(is_running(&mut site.process));
    kill_process(process, Signal::TERM).unwrap();
    assert_eq!(site.process.wait().unwrap().code(), Some(1));
    drop(session);
    site.restart();
    let mut session = site.block_on(sign_on(&site));
    kill_process(Pid::from_child(&site.process), Signal::TERM).unwrap();
    // It ends as soon as the last session has.
    site.block_on(async {
        session.press(Aid::F3).await.unwrap();
        session.wait_for_text("Sign On").await.unwrap();
    });
    drop(session);
    assert_eq!(site.process.wait().unwrap().code(), Some(0));
}

/// The doctor's findings about `check` that are no "ok".
fn findings(site: &Site, check: &str) -> Vec<(String, String)> {
    let (_, said) = site.tries(&["doctor", "--json"]);
    let all: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    let found = all.as_array().unwrap().iter().filter(|one| one["check"] == check && one["level"] != "ok");
    found.map(|one| (one["level"].as_str().unwrap().to_owned(), one["found"].as_str().unwrap().to_owned())).collect()
}

#[track_caller]
fn problem(site: &Site, check: &str, about: &str) {
    let found = findings(site, check);
    let told = found.iter().any(|(level, found)| level == "problem" && found.contains(about));
    assert!(told, "{check}: {about}: {found:?}");
}

#[test]
fn the_doctor_finds_nothing_where_nothing_is_wrong() {
    let site = Site::start(Plan { tls: true, limits: "connections = 100\n", ..Plan::default() });
    std::fs::set_permissions(site.file("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let (code, said) = site.tries(&["doctor", "--deep"]);
    assert_eq!(code, 0, "{said}");
    for part in ["0 problems", "writable", "the gateway listens there", "TLSv1_3", "it answers", "no core dumps"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let before = site.audit();
    assert_eq!(site.tries(&["doctor", "--quick"]).0, 0);
    assert_eq!(site.audit(), before, "looking changes nothing");
    let (code, said) = site.tries(&["doctor", "--send", "anna@example.com"]);
    assert!(code == 0 && said.contains("a***@example.com: 127.0.0.1"), "{said}");
    assert!(site.has_mail_soon());
    assert!(site.audit().contains("contact-tested"));
}

#[test]
fn the_doctor_finds_each_planted_fault_of_files() {
    let site = Site::start(Plan { tls: true, limits: "connections = 100\n", ..Plan::default() });
    // Open to others.
    let mode =
        |name: &str, mode| std::fs::set_permissions(site.file(name), std::fs::Permissions::from_mode(mode)).unwrap();
    mode("key.pem", 0o644);
    problem(&site, "permissions", "read or written by others");
    mode("key.pem", 0o600);
    mode("gateway.key", 0o640);
    problem(&site, "key", "chmod 600");
    mode("gateway.key", 0o600);
    let audit_key = std::fs::read_dir(site.file("")).unwrap().filter_map(Result::ok).map(|entry| entry.file_name());
    let audit_key =
        audit_key.filter_map(|name| name.into_string().ok()).find(|name| name.ends_with("audit-key")).unwrap();
    mode(&audit_key, 0o640);
    problem(&site, "permissions", "read or written by others");
    problem(&site, "audit", "chmod 600");
    mode(&audit_key, 0o600);
    // Nothing is sent, by whatever cause.
    site.admin(&["sender", "stop", "--reason", "tested"]);
    problem(&site, "delivery", "whoever needs a passcode is refused (tested)");
    site.admin(&["sender", "start"]);
    assert_eq!(findings(&site, "delivery"), []);
    // A locked store.
    let lock = rusqlite::Connection::open(site.file("store.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    problem(&site, "store", "nothing can be written");
    lock.execute_batch("ROLLBACK").unwrap();
    // A clock that was set back: the audit is ahead.
    lock.execute_batch(
        "INSERT INTO audit (at, node, event, outcome, sequence, hash)
         SELECT max(at) + 7200000, 'n', 'changed', 'noted', 1, zeroblob(32) FROM audit",
    )
    .unwrap();
    problem(&site, "clock", "behind the latest entry");
    // An expired certificate, and one whose key is another's.
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let pem = params.self_signed(&key).unwrap().pem();
    std::fs::write(site.file("certificate.pem"), pem).unwrap();
    problem(&site, "configuration", "cannot be used together");
    std::fs::write(site.file("key.pem"), key.serialize_pem()).unwrap();
    problem(&site, "certificates", "it has expired");
    // The host still shows the certificate from before, which this one does not vouch for.
    problem(&site, "hosts", "invalid peer certificate");
    // No key.
    std::fs::rename(site.file("gateway.key"), site.file("moved.key")).unwrap();
    problem(&site, "key", "there is none");
    // A store that is none.
    drop(lock);
    std::fs::write(site.file("store.db"), "this is no store").unwrap();
    let _ = std::fs::remove_file(site.file("store.db-wal"));
    let _ = std::fs::remove_file(site.file("store.db-shm"));
    problem(&site, "store", "not a database");
    assert_eq!(site.tries(&["doctor", "--quick"]).0, 1);
}

#[test]
fn the_doctor_finds_each_planted_fault_of_the_network() {
    let mut site =
        Site::start(Plan { host_up: false, mail_up: false, limits: "connections = 100\n", ..Plan::default() });
    problem(&site, "hosts", "cannot be reached");
    let found = findings(&site, "mail");
    assert!(matches!(found.as_slice(), [(level, _)] if level == "problem"), "{found:?}");
    let text = std::fs::read_to_string(site.configuration()).unwrap();
    std::fs::write(
        site.configuration(),
        text.replace("[limits]\nconnections = 100", "[limits]\nconnections = 100000000"),
    )
    .unwrap();
    problem(&site, "process", "needed for limits.connections");
    let host = text.lines().find(|line| line.starts_with("address = \"127")).unwrap();
    let elsewhere = text.replacen(host, "address = \"no-such-host.invalid\"", 1);
    std::fs::write(site.configuration(), &elsewhere).unwrap();
    problem(&site, "names", "");
    let _ = site.process.kill();
    let _ = site.process.wait();
    // Where no gateway runs: a port that another program has.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = format!("address = \"{}\"\nhost = \"HOST1\"", taken.local_addr().unwrap());
    let text = text.replace("address = \"127.0.0.1:0\"\nhost = \"HOST1\"", &listener);
    std::fs::write(site.configuration(), text).unwrap();
    problem(&site, "listeners", "another program listens there");
    assert_eq!(findings(&site, "listeners").first().map(|(level, _)| level.as_str()), Some("warning"));
}

#[test]
fn the_direct_route_is_probed_without_store_or_configuration() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        let output = command.args(arguments).env("SALLYPORT_CONFIG", "/nowhere.toml").output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = run(&["doctor", "probe-direct", "--from-here", "127.0.0.1", "--json"]);
    let found: Value = serde_json::from_str(&said).unwrap();
    let found = found.as_array().unwrap();
    assert!(found.len() > 20 && found.iter().any(|door| door["port"] == 8476), "{said}");
    let open = found.iter().any(|door| door["is_guarded"] == true && door["answer"] == "open");
    assert_eq!(code, Some(i32::from(open)), "{said}");
    assert_eq!(run(&["doctor", "probe-direct", "127.0.0.1"]).0, Some(2), "--from-here has to be said");
    let (code, said) = run(&["doctor", "advice"]);
    assert!(code == Some(0) && said.contains("QRMTSIGN") && said.contains("QDSCJOBITV"), "{said}");
}
