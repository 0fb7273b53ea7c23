//! A whole gateway in front of a simulated host, over sockets.

mod ftp;

use policy::rule::Treatment;
use proxy_tn5250::input::Aid;
use rcgen::{CertificateParams, KeyPair};
use rustls::RootCertStore;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::audit::Entry;
use crate::control::{Answer, Command};
use crate::demo::{Host, HostSettings};
use crate::key::Key;
use crate::sessions::State;
use crate::store::{Filter, Store};
use crate::terminal::{Options, Session};
use crate::testing::Folder;
use crate::tls::{self, Pin, Trust};

const LIMIT: Duration = Duration::from_secs(10);

/// A gateway, what it needs, and the host behind it.
struct Bench {
    folder: Folder,
    store: Store,
    system: System,
    running: Running,
}

impl Bench {
    /// Everybody is let in from the loopback network; `lines` are added to the host's and the listener's tables.
    async fn new(host: SocketAddr, host_lines: &str, listener_lines: &str, limits: &str) -> Self {
        let folder = Folder::new();
        let text = format!(
            "[gateway]\nstore = \"s.db\"\n[smtp]\nhost = \"127.0.0.1\"\nfrom = \"a@example.com\"\n[limits]\n{limits}\n\
             [[host]]\nname = \"PROD\"\naddress = \"{host}\"\n{host_lines}\n\
             [[listener]]\nname = \"here\"\naddress = \"127.0.0.1:0\"\nhost = \"PROD\"\n{listener_lines}\n"
        );
        let config = Config::parse(&folder.path("sallyport.toml"), text).unwrap_or_else(|error| panic!("{error}"));
        Self::start(folder, &config).await
    }

    async fn start(folder: Folder, config: &Config) -> Self {
        let system = System::new();
        let store = Store::open(&config.gateway.store, system.now()).await.unwrap();
        let entry = Entry::new(system.now(), "node", Event::Changed, crate::audit::Outcome::Noted);
        for block in ["127.0.0.0/8", "192.0.2.0/24"] {
            let treatment = Treatment::Exempt;
            for service in [Service::Telnet, Service::Ftp] {
                let block = block.parse().unwrap();
                store.add_network(policy::Network::new(0, service, block, treatment), entry.clone()).await.unwrap();
            }
        }
        let key = Key::open(&config.gateway.key_file, &system).unwrap();
        let open = config.open().unwrap_or_else(|error| panic!("{error}"));
        let (post, worker) = crate::delivery::open(config, &open, store.clone(), &key, system.clone()).unwrap();
        let guard = Guard::open(post, crate::factor::Judge::new(&key, None, None), key, system.clone()).await.unwrap();
        let running = super::start(config, open, guard, worker, system.clone()).await.unwrap();
        Self { folder, store, system, running }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.running.addresses()[0]).await.unwrap()
    }

    /// The details of the entries about `event`, once there are as many as `count`.
    async fn entries(&self, event: Event, count: usize) -> Vec<Entry> {
        let filter = || Filter { event: Some(event), ..Filter::default() };
        for _ in 0..500 {
            let entries = self.store.entries(filter(), 100).await.unwrap();
            if entries.len() >= count {
                return entries.into_iter().map(|line| line.entry).collect();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no {count} entries {event:?}");
    }

    /// The detail of the one entry about a closed connection.
    async fn how_it_ended(&self) -> String {
        let entries = self.entries(Event::ConnectionClosed, 1).await;
        assert_eq!(entries.len(), 1);
        entries[0].detail.clone().unwrap()
    }
}

async fn host() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let host = Host::new(HostSettings::default().with_account("anna", "garden"));
    tokio::spawn(async move { host.serve(listener, CancellationToken::new()).await });
    address
}

async fn sign_on<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> Session<S> {
    let mut session = Session::new(stream, Options::default(), LIMIT);
    session.wait_for_screen().await.unwrap();
    session.fill("anna").unwrap();
    session.type_text("garden").unwrap();
    session.press(Aid::ENTER).await.unwrap();
    if let Err(error) = session.wait_for_text("Main Menu").await {
        panic!("{error}\n{}", session.screen_text());
    }
    session
}

/// Reads the farewell, and ends with the next key.
async fn leave<S: AsyncRead + AsyncWrite + Unpin>(session: &mut Session<S>) {
    session.wait_for_text("ended by an operator").await.unwrap();
    session.press(Aid::ENTER).await.unwrap();
    session.wait_for_close().await.unwrap();
}

/// Whether the other end closes without a byte.
async fn is_closed(mut stream: TcpStream) -> bool {
    let mut byte = [0];
    matches!(tokio::time::timeout(LIMIT, stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn a_session_is_listed_ended_and_in_the_audit() {
    let bench = Bench::new(host().await, "", "", "").await;
    let mut session = sign_on(bench.connect().await).await;
    let list = bench.running.sessions.list();
    let [listed] = list.as_slice() else { panic!("{list:?}") };
    assert_eq!((listed.user.as_deref(), listed.state, &*listed.host), (Some("ANNA"), State::Admitted, "PROD"));
    assert!(listed.client_bytes > 100 && listed.host_bytes > 1_000, "{listed:?}");
    let opened = bench.entries(Event::ConnectionOpened, 1).await;
    assert_eq!(opened[0].connection.as_deref(), Some(listed.id.as_str()));
    let answer = control::ask(bench.running.control(), &Command::SessionEnd { id: listed.id.clone() }).await.unwrap();
    assert!(matches!(answer, Answer::Ended { .. }), "{answer:?}");
    leave(&mut session).await;
    let how = bench.how_it_ended().await;
    assert!(how.starts_with("ended by an operator or a shutdown; "), "{how}");
    let ended = bench.entries(Event::SessionEnded, 1).await;
    assert!(ended[0].detail.as_ref().unwrap().contains("of ANNA from 127.0.0.1"));
    assert_eq!(bench.running.sessions.count(), 0);
}

#[tokio::test]
async fn tls_on_both_sides_behind_a_balancer() {
    // A TLS host: a terminator in front of the simulated one.
    let plain = host().await;
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let secret = || rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let server = tls::listener_config(vec![certificate.der().clone()], secret(), None).unwrap();
    let secure = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = secure.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = secure.accept().await.unwrap();
        let mut stream = tls::accept(server, stream, LIMIT).await.unwrap();
        let mut onward = TcpStream::connect(plain).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
    });
    let folder = Folder::new();
    std::fs::write(folder.path("c.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.path("k.pem"), key.serialize_pem()).unwrap();
    let text = format!(
        "[gateway]\nstore = \"s.db\"\n[smtp]\nhost = \"127.0.0.1\"\nfrom = \"a@example.com\"\n\
         [[host]]\nname = \"PROD\"\naddress = \"{address}\"\n[host.tls]\npins = [\"{}\"]\n\
         [[listener]]\nname = \"here\"\naddress = \"127.0.0.1:0\"\nhost = \"PROD\"\n\
         proxy_protocol_from = [\"127.0.0.1\"]\n[listener.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n",
        Pin::of(certificate.der())
    );
    let config = Config::parse(&folder.path("sallyport.toml"), text).unwrap();
    let bench = Bench::start(folder, &config).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 40001 992\r\n").await.unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let client = tls::host_config(Trust::Roots(roots)).unwrap();
    let stream = tls::connect(client, ServerName::try_from("localhost").unwrap(), stream, LIMIT).await.unwrap();
    let _session = sign_on(stream).await;
    assert_eq!(bench.running.sessions.list()[0].source.to_string(), "192.0.2.7:40001");
    let opened = bench.entries(Event::ConnectionOpened, 1).await;
    assert_eq!(opened[0].source.unwrap().to_string(), "192.0.2.7");
    // Without a header, or with one that names no client, nobody is served from there.
    for first in [&b"\xFF\xFB\x18 and some more"[..], b"PROXY UNKNOWN\r\n"] {
        let mut stream = bench.connect().await;
        stream.write_all(first).await.unwrap();
        assert!(is_closed(stream).await);
    }
    assert_eq!(bench.running.sessions.count(), 1);
    assert!(bench.folder.path("s.sock").exists());
}

#[tokio::test]
async fn a_host_that_is_down_is_told_in_the_audit() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let bench = Bench::new(address, "", "", "").await;
    assert!(is_closed(bench.connect().await).await);
    let how = bench.how_it_ended().await;
    assert!(how.starts_with("host PROD at 127.0.0.1:") && how.contains("refused"), "{how}");
}

#[tokio::test]
async fn a_host_of_another_certificate_is_not_spoken_to() {
    let pin = format!("[host.tls]\npins = [\"sha256:{}\"]", "00".repeat(32));
    let bench = Bench::new(host().await, &pin, "", "handshake_seconds = 1").await;
    assert!(is_closed(bench.connect().await).await);
    let how = bench.how_it_ended().await;
    assert!(how.contains("TLS handshake"), "{how}");
}

#[tokio::test]
async fn limits_turn_away_and_give_back() {
    let bench = Bench::new(host().await, "", "", "connections_per_source = 2\nunauthenticated = 1").await;
    let first = sign_on(bench.connect().await).await;
    let mut second = Session::new(bench.connect().await, Options::default(), LIMIT);
    second.wait_for_screen().await.unwrap();
    assert!(is_closed(bench.connect().await).await, "one unauthenticated is all there may be");
    drop(first);
    drop(second);
    bench.entries(Event::ConnectionClosed, 2).await;
    let _kept = (sign_on(bench.connect().await).await, sign_on(bench.connect().await).await);
    assert!(is_closed(bench.connect().await).await, "two of one source are all there may be");
}

#[tokio::test]
async fn stopping_ends_sessions_and_frees_addresses() {
    let bench = Bench::new(host().await, "", "", "").await;
    let address = bench.running.addresses()[0];
    let mut session = sign_on(bench.connect().await).await;
    let silent = sign_on(bench.connect().await).await;
    let reads = tokio::spawn(async move { leave(&mut session).await });
    bench.running.stop().await;
    reads.await.unwrap();
    drop(silent);
    assert!(TcpStream::connect(address).await.is_err());
    let stopped = bench.store.entries(Filter { event: Some(Event::GatewayStopped), ..Filter::default() }, 9).await;
    assert_eq!(stopped.unwrap().len(), 1);
    assert!(!bench.folder.path("s.sock").exists());
    assert!(bench.system.now() > jiff::Timestamp::UNIX_EPOCH);
}

#[tokio::test]
async fn a_second_gateway_does_not_start() {
    let bench = Bench::new(host().await, "", "", "").await;
    let address = bench.running.addresses()[0];
    let start = async |control: &str, listener: &str| {
        let text = format!(
            "[gateway]\nstore = \"s.db\"\ncontrol = \"{control}\"\n[smtp]\nhost = \"a\"\nfrom = \"a@example.com\"\n\
             [[host]]\nname = \"P\"\naddress = \"a\"\n[[listener]]\nname = \"x\"\naddress = \"{listener}\"\nhost = \"P\"\n"
        );
        let config = Config::parse(&bench.folder.path("x.toml"), text).unwrap();
        let open = config.open().unwrap();
        let key = Key::open(&bench.folder.path("s.key"), &bench.system).unwrap();
        let (store, system) = (bench.store.clone(), bench.system.clone());
        let (_, worker) = crate::delivery::open(&config, &open, store, &key, system.clone()).unwrap();
        super::start(&config, open, bench.running.guard.clone(), worker, system).await.unwrap_err().to_string()
    };
    assert!(start("s.sock", "127.0.0.1:0").await.contains("another gateway runs"));
    let taken = start("other.sock", &address.to_string()).await;
    assert!(taken.contains("listener x cannot be bound to"), "{taken}");
}

#[tokio::test]
async fn a_panic_ends_one_connection_and_is_in_the_audit() {
    let bench = Bench::new(host().await, "", "", "").await;
    let closing = connection::tests::closing(&bench.running.guard, &bench.system, &bench.running.late);
    let panicked = tokio::spawn(async move {
        let _closing = closing;
        panic!("in a connection");
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!(bench.how_it_ended().await, "internal fault: panic");
    sign_on(bench.connect().await).await;
}
