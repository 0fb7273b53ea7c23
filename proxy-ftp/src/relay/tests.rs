//! The relay between a client, a host and a guard of the tests' own, over sockets.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

use policy::{Secret, User};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::gate::{ClientTls as Tls, HostMode, HostTls as HostSide, Limits};

const PASSWORD: &str = "hunter2";

/// A certificate for `localhost`, for both sides of the gateway.
struct Certificate {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

fn certificate() -> Certificate {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let der = CertificateDer::from(certificate);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(der.clone()).unwrap();
    let server = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Certificate {
        server: Arc::new(server.with_no_client_auth().with_single_cert(vec![der], key).unwrap()),
        client: Arc::new(client.with_root_certificates(roots).with_no_client_auth()),
    }
}

/// A small host: it knows one password, one file, and counts its logons.
struct Host {
    address: SocketAddr,
    logons: Arc<AtomicUsize>,
    stored: Arc<Mutex<Vec<u8>>>,
}

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

async fn host(tls: Option<TlsAcceptor>, file: Arc<Vec<u8>>) -> Host {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (logons, stored) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let host = Host { address, logons: Arc::clone(&logons), stored: Arc::clone(&stored) };
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, tls.clone(), Arc::clone(&file), Arc::clone(&logons), Arc::clone(&stored)));
        }
    });
    host
}

async fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    file: Arc<Vec<u8>>,
    logons: Arc<AtomicUsize>,
    stored: Arc<Mutex<Vec<u8>>>,
) -> Option<()> {
    let mut control: BufReader<Box<dyn Socket>> = BufReader::new(Box::new(stream));
    control.write_all(b"220-QTCP at TEST.\r\n220 Hello.\r\n").await.ok()?;
    let (mut data_listener, mut data_place, mut private) = (None, None, false);
    loop {
        let mut line = String::new();
        if control.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let (verb, argument) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        let reply: String = match verb {
            "AUTH" => {
                control.write_all(b"234 Go.\r\n").await.ok()?;
                let stream = tls.as_ref()?.accept(control.into_inner()).await.ok()?;
                control = BufReader::new(Box::new(stream));
                continue;
            }
            "USER" => "331 Enter password.".into(),
            "PASS" if argument == PASSWORD => {
                logons.fetch_add(1, Ordering::SeqCst);
                "230 Logged on.".into()
            }
            "PASS" => "530 No.".into(),
            "PROT" => {
                private = argument == "P";
                "200 Ok.".into()
            }
            "PASV" | "EPSV" => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let port = listener.local_addr().unwrap().port();
                data_listener = Some(listener);
                if verb == "EPSV" {
                    format!("229 Extended (!!!{port}!).")
                } else {
                    format!("227 Entering Passive Mode (198,51,100,1,{},{}).", port >> 8, port & 255)
                }
            }
            "PORT" => {
                data_place = Some(crate::address::parse_port(argument.as_bytes()).unwrap());
                "200 Ok.".into()
            }
            "RETR" | "STOR" => {
                control.write_all(b"150 Here.\r\n").await.ok()?;
                let data = match (data_listener.take(), data_place.take()) {
                    (Some(listener), _) => listener.accept().await.unwrap().0,
                    (None, Some(place)) => TcpStream::connect(place).await.unwrap(),
                    (None, None) => return None,
                };
                let mut data: Box<dyn Socket> =
                    if private { Box::new(tls.as_ref()?.accept(data).await.unwrap()) } else { Box::new(data) };
                if verb == "RETR" {
                    let sent = data.write_all(&file).await.is_ok() && data.shutdown().await.is_ok();
                    if sent { "226 Sent." } else { "426 Broken." }.into()
                } else {
                    let mut bytes = Vec::new();
                    let _ = data.read_to_end(&mut bytes).await;
                    let _ = data.shutdown().await;
                    *stored.lock().unwrap() = bytes;
                    "226 Stored.".into()
                }
            }
            "QUIT" => {
                control.write_all(b"221 Bye.\r\n").await.ok()?;
                control.shutdown().await.ok()?;
                return None;
            }
            _ => "200 Ok.".into(),
        };
        control.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
    }
}

/// A gateway for one client.
struct Gateway {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    moved: Arc<Mutex<Vec<(u64, u64)>>>,
    outcome: JoinHandle<Outcome>,
}

async fn gateway(settings: crate::gate::Settings, certificate: &Certificate, host: &Host) -> Gateway {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let moved = Arc::<Mutex<Vec<_>>>::default();
    let counted = Arc::clone(&moved);
    let means = Means {
        client_tls: Some(ClientTls::new(&certificate.server, false)),
        host_tls: Some((Arc::clone(&certificate.client), ServerName::try_from("localhost").unwrap())),
        data: Arc::new(Settings::default()),
        dice: Box::new(|bytes| {
            rustls::crypto::aws_lc_rs::default_provider()
                .secure_random
                .fill(bytes)
                .map_err(|_| io::Error::other("no dice"))
        }),
        secured: Box::new(|connection| assert!(!connection.is_handshaking())),
        moved: Box::new(move |down, up| counted.lock().unwrap().push((down, up))),
    };
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (to, log) = (host.address, Arc::clone(&asked));
    let outcome = tokio::spawn(async move {
        let client = Connection::new(listener.accept().await.unwrap().0).unwrap();
        let gate = Gate::new(Arc::new(settings), client.peer.ip(), now());
        let dial = || async move { Connection::new(TcpStream::connect(to).await?) };
        let ask = |question| {
            let verdict = answer(question, &log);
            async move { verdict }
        };
        run(client, dial, gate, means, ask, |_| {}, core::future::pending()).await
    });
    Gateway { address, asked, moved, outcome }
}

/// The guard: 314159 is the passcode; a password with it behind a colon is checked, one without it is challenged.
fn answer(question: Question, log: &Mutex<Vec<String>>) -> Verdict {
    let password = || Secret::new(PASSWORD.as_bytes().to_vec());
    let refuse = Verdict::Refuse { notice: Notice::Refused, close: false };
    let (name, verdict) = match question {
        Question::Password { password: given, .. } if given.expose() == b"314159" => {
            ("passcode", Verdict::AdmitWith { password: password() })
        }
        Question::Password { password, .. } => ("password", Verdict::Check { password, answer: None }),
        Question::Accepted { user, .. } => {
            assert_eq!(user.as_ref().map(User::as_str), Some("ANNA"));
            ("accepted", refuse)
        }
        Question::Answer { .. } | Question::SignOn { .. } => ("other", refuse),
    };
    log.lock().unwrap().push(name.to_owned());
    verdict
}

fn settings() -> crate::gate::Settings {
    let limits = Limits { reject: Duration::ZERO, ..Limits::default() };
    crate::gate::Settings { client_tls: Tls::Offered, limits, ..crate::gate::Settings::default() }
}

struct Client(BufReader<Box<dyn Socket>>);

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(Box::new(TcpStream::connect(address).await.unwrap())))
    }

    /// The last line of the next reply.
    async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).await.unwrap(), 0, "closed");
            if line.as_bytes().get(3) == Some(&b' ') && line.as_bytes().iter().take(3).all(u8::is_ascii_digit) {
                return line.trim_end().to_owned();
            }
        }
    }

    async fn say(&mut self, line: &str) -> String {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.reply().await
    }

    async fn log_on(&mut self) {
        assert!(self.say("USER anna").await.starts_with("331 "));
        assert!(self.say(&format!("PASS {PASSWORD}")).await.starts_with("530 "));
        assert_eq!(self.say("LIST").await, "530 Not logged on.");
        assert!(self.say("USER anna").await.starts_with("331 "));
        assert_eq!(self.say("PASS 314159").await, "230 Logged on.");
    }

    async fn passive(&mut self) -> SocketAddr {
        let reply = self.say("PASV").await;
        let passive = crate::address::Passive::parse(&reply.as_bytes()[4..]).unwrap();
        assert_eq!(passive.place.ip().octets(), [127, 0, 0, 1], "the gateway's address, not what the host says");
        passive.place.into()
    }
}

fn file() -> Arc<Vec<u8>> {
    Arc::new((0..3_000_000_u32).map(|at| (at % 251) as u8).collect())
}

#[tokio::test]
async fn a_logon_and_transfers_in_the_clear() {
    let (certificate, file) = (certificate(), file());
    let host = host(None, Arc::clone(&file)).await;
    let gateway = gateway(settings(), &certificate, &host).await;
    let mut client = Client::connect(gateway.address).await;
    assert_eq!(client.reply().await, "220 Hello.");
    client.log_on().await;
    assert_eq!(*gateway.asked.lock().unwrap(), ["password", "accepted", "passcode"]);
    assert_eq!(host.logons.load(Ordering::SeqCst), 2);
    let mut data = TcpStream::connect(client.passive().await).await.unwrap();
    assert_eq!(client.say("RETR f").await, "150 Here.");
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes == *file);
    assert_eq!(client.reply().await, "226 Sent.");
    // Active, upload.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(client.say(&format!("PORT 127,0,0,1,{},{}", port >> 8, port & 255)).await.starts_with("200 "));
    assert_eq!(client.say("STOR f").await, "150 Here.");
    let mut data = listener.accept().await.unwrap().0;
    data.write_all(&file).await.unwrap();
    drop(data);
    assert_eq!(client.reply().await, "226 Stored.");
    assert!(*host.stored.lock().unwrap() == *file);
    assert_eq!(client.say("QUIT").await, "221 Bye.");
    let outcome = gateway.outcome.await.unwrap();
    assert_eq!(outcome.close, Close::Client);
    assert!(outcome.to_client > 3_000_000 && outcome.to_host > 3_000_000, "{outcome:?}");
}

#[tokio::test]
async fn what_a_cut_transfer_moved_is_counted() {
    let certificate = certificate();
    // More than sockets hold.
    let host = host(None, Arc::new(vec![7; 60_000_000])).await;
    let gateway = gateway(settings(), &certificate, &host).await;
    let mut client = Client::connect(gateway.address).await;
    client.reply().await;
    client.log_on().await;
    // A port that is never used is no transfer.
    client.passive().await;
    let mut data = TcpStream::connect(client.passive().await).await.unwrap();
    assert_eq!(client.say("RETR f").await, "150 Here.");
    let mut bytes = vec![0; 200_000];
    data.read_exact(&mut bytes).await.unwrap();
    drop(client);
    let outcome = gateway.outcome.await.unwrap();
    assert_eq!(outcome.close, Close::Client);
    assert!(outcome.to_client > 200_000, "{outcome:?}");
    let moved = gateway.moved.lock().unwrap().clone();
    assert!(matches!(moved[..], [(200_000.., 0)]), "{moved:?}");
}

#[tokio::test]
async fn tls_on_both_sides_and_the_other_mode() {
    let (certificate, file) = (certificate(), file());
    let host = host(Some(TlsAcceptor::from(Arc::clone(&certificate.server))), Arc::clone(&file)).await;
    let settings = crate::gate::Settings {
        host_tls: HostSide::Explicit,
        host_mode: HostMode::Active,
        client_tls: Tls::Required,
        ..settings()
    };
    let gateway = gateway(settings, &certificate, &host).await;
    let mut client = Client::connect(gateway.address).await;
    client.reply().await;
    assert_eq!(client.say("USER anna").await, "530 AUTH TLS comes first.");
    assert!(client.say("AUTH TLS").await.starts_with("234 "));
    let connector = TlsConnector::from(Arc::clone(&certificate.client));
    let name = || ServerName::try_from("localhost").unwrap();
    let stream = connector.connect(name(), client.0.into_inner()).await.unwrap();
    let mut client = Client(BufReader::new(Box::new(stream)));
    assert_eq!(client.say("PBSZ 0").await, "200 PBSZ=0");
    assert_eq!(client.say("PROT P").await, "200 Data is protected.");
    client.log_on().await;
    for _ in 0..3 {
        let data = TcpStream::connect(client.passive().await).await.unwrap();
        assert_eq!(client.say("RETR f").await, "150 Here.");
        let mut data = connector.connect(name(), data).await.unwrap();
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).await.unwrap();
        assert!(bytes == *file);
        assert_eq!(client.reply().await, "226 Sent.");
    }
    drop(client);
    assert_eq!(gateway.outcome.await.unwrap().close, Close::Client);
}

#[tokio::test]
async fn plain_bytes_behind_auth_are_never_run() {
    let certificate = certificate();
    let host = host(None, file()).await;
    let gateway = gateway(settings(), &certificate, &host).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"AUTH TLS\r\nUSER anna\r\nPASS 314159\r\n").await.unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    assert!(String::from_utf8_lossy(&said).ends_with("421 Closing the connection.\r\n"));
    assert!(matches!(gateway.outcome.await.unwrap().close, Close::Forbidden(_)));
    assert_eq!(*gateway.asked.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_host_that_is_not_there() {
    let certificate = certificate();
    let mut host = host(None, file()).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    host.address = nobody;
    let gateway = gateway(settings(), &certificate, &host).await;
    let mut client = Client::connect(gateway.address).await;
    assert_eq!(client.reply().await, "421 Server not available.");
    assert_eq!(gateway.outcome.await.unwrap().close, Close::Unavailable("no connection"));
}

#[tokio::test]
async fn urgent_data_in_an_abort_is_not_lost() {
    let (certificate, file) = (certificate(), Arc::new(vec![0; 50_000_000]));
    let host = host(None, file).await;
    let gateway = gateway(settings(), &certificate, &host).await;
    let stream = std::net::TcpStream::connect(gateway.address).unwrap();
    let urgent = stream.try_clone().unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut client = Client(BufReader::new(Box::new(TcpStream::from_std(stream).unwrap())));
    client.reply().await;
    client.log_on().await;
    let mut data = TcpStream::connect(client.passive().await).await.unwrap();
    assert_eq!(client.say("RETR f").await, "150 Here.");
    let mut some = [0; 1000];
    data.read_exact(&mut some).await.unwrap();
    // As Python's ftplib does: all of it urgent, so that the line's end is the urgent byte.
    assert_eq!(socket2::SockRef::from(&urgent).send_out_of_band(b"ABOR\r\n").unwrap(), 6);
    assert!(client.reply().await.starts_with("426 "));
    assert_eq!(client.reply().await, "200 Ok.", "the host's word on ABOR");
    assert!(data.read_to_end(&mut Vec::new()).await.is_err(), "what was cut does not look whole");
    assert_eq!(client.say("PWD").await, "200 Ok.");
}

/// A gateway at the other end of a pipe that holds `room` bytes each way, for a client that never logs on.
fn pipe(room: usize) -> tokio::io::DuplexStream {
    let (near, far) = tokio::io::duplex(room);
    let (local, peer): (SocketAddr, SocketAddr) = ("192.0.2.1:21".parse().unwrap(), "192.0.2.7:4000".parse().unwrap());
    let means = Means {
        client_tls: None,
        host_tls: None,
        data: Arc::new(Settings::default()),
        dice: Box::new(|_| Ok(())),
        secured: Box::new(|_| {}),
        moved: Box::new(|_, _| {}),
    };
    let limits = Limits { commands: u32::MAX, ..Limits::default() };
    let settings = crate::gate::Settings { banner: Some(vec!["Welcome.".into()]), limits, ..settings() };
    let gate = Gate::new(Arc::new(settings), peer.ip(), now());
    let client = Connection { stream: far, local, peer };
    let dial = || core::future::pending::<io::Result<Connection<tokio::io::DuplexStream>>>();
    let ask = |_| core::future::pending::<Verdict>();
    tokio::spawn(run(client, dial, gate, means, ask, |_| {}, core::future::pending()));
    near
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_not_read_for_ever() {
    let mut client = pipe(1000);
    let mut sent = 0;
    let wait = Duration::from_millis(500);
    while sent < 10_000_000
        && let Ok(Ok(count)) = tokio::time::timeout(wait, client.write(&b"NOOP\r\n".repeat(100))).await
    {
        sent += count;
    }
    assert!(sent < 50_000, "{sent} bytes of commands were taken from a client that reads nothing");
    // As soon as it takes what is due to it, it is heard again.
    let mut words = vec![0; 10_000];
    while let Ok(read) = tokio::time::timeout(wait, client.read(&mut words)).await {
        assert_ne!(read.unwrap(), 0, "closed");
    }
    tokio::time::timeout(wait, client.write_all(&b"NOOP\r\n".repeat(100))).await.expect("heard").unwrap();
}

#[tokio::test]
async fn a_client_that_is_behind_by_some_replies_is_still_heard() {
    let mut client = pipe(16);
    for _ in 0..10 {
        tokio::time::timeout(Duration::from_secs(5), client.write_all(b"NOOP\r\n")).await.expect("heard").unwrap();
    }
}
