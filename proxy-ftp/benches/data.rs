//! Throughput and CPU time of one transfer through the data connections, over loopback.
//!
//! `cargo bench -p proxy-ftp --bench data -- [MIB] [ROUNDS] [sum] [plain]`: with `sum`, both ends take the SHA-256 of what passes,
//! and it must be the same; with `plain`, there is no TLS. The CPU time is that of the thread that relays alone.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, Digest, SHA256};
use proxy_ftp::data::{ClientTls, Data, HostTls, Place, Settings};
use proxy_ftp::order::{DataEvent, DataOrder, Family, Meet, Side};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

const PIECE: usize = 256 * 1024;

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let mib = numbers.first().copied().unwrap_or(1024);
    let rounds = numbers.get(1).copied().unwrap_or(3);
    let is_given = |word: &str| std::env::args().any(|argument| argument == word);
    let sum = is_given("sum");
    let (server, client) = configs();
    for to in [Side::Client, Side::Host] {
        for tls in [[false, false], [true, false], [false, true], [true, true]] {
            if tls != [false, false] && is_given("plain") {
                continue;
            }
            for _ in 0..rounds {
                let (wall, cpu) = transfer(mib * 1024 * 1024, to, tls, sum, (&server, &client));
                let name = |is_tls| if is_tls { "tls" } else { "plain" };
                println!(
                    "to {to:?}, client {}, host {}: {:.2} GiB/s, {:.2} CPU s/GiB",
                    name(tls[0]),
                    name(tls[1]),
                    mib as f64 / 1024.0 / wall.as_secs_f64(),
                    cpu.as_secs_f64() * 1024.0 / mib as f64
                );
            }
        }
    }
}

fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// Moves `length` bytes; gives the time it took and the relaying thread's CPU time.
fn transfer(
    length: u64,
    to: Side,
    [client_tls, host_tls]: [bool; 2],
    sum: bool,
    (server, client): (&Arc<ServerConfig>, &Arc<ClientConfig>),
) -> (Duration, Duration) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = Meet::Connect(listener.local_addr().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    let (base, back) = (server.clone(), client.clone());
    let relay = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let control = |port| SocketAddr::new([127, 0, 0, 1].into(), port);
            let place = Place::new(control(21), control(40_000));
            let dice = Box::new(|bytes: &mut [u8]| aws_lc_rs::rand::fill(bytes).map_err(|_| io::Error::other("dice")));
            let mut data = Data::new(Arc::new(Settings::default()), place, dice);
            data.set_client_tls(ClientTls::new(&base, false));
            data.set_host(place, Some(HostTls::new(&back, name())));
            data.order(DataOrder::Open { client: Meet::Listen(Family::V4), host });
            let DataEvent::Ready { client: Some(address), .. } = data.event().await else { panic!("not ready") };
            tell.send(address).unwrap();
            data.order(DataOrder::Start { client_tls, host_tls, to });
            let before = cpu_time();
            let event = data.event().await;
            let DataEvent::Ended { to_client, to_host, clean: true } = event else { panic!("{event:?}") };
            assert_eq!(to_client + to_host, length);
            cpu_time() - before
        })
    });
    let at_client = TcpStream::connect(told.recv().unwrap()).unwrap();
    let (at_host, _) = listener.accept().unwrap();
    let start = Instant::now();
    let config = client.clone();
    let client: Box<dyn Duplex + Send> = if client_tls {
        let tls = ClientConnection::new(config, name()).unwrap();
        Box::new(Closing(StreamOwned::new(tls, at_client)))
    } else {
        Box::new(at_client)
    };
    let config = server.clone();
    let host: Box<dyn Duplex + Send> = if host_tls {
        let tls = ServerConnection::new(config).unwrap();
        Box::new(Closing(StreamOwned::new(tls, at_host)))
    } else {
        Box::new(at_host)
    };
    let (sender, receiver) = if to == Side::Client { (host, client) } else { (client, host) };
    let sending = thread::spawn(move || send(sender, length, sum));
    let got = receive(receiver, length, sum);
    let wall = start.elapsed();
    let sent = sending.join().unwrap();
    assert_eq!(sent.map(|sum| sum.as_ref().to_vec()), got.map(|sum| sum.as_ref().to_vec()), "the same bytes");
    (wall, relay.join().unwrap())
}

fn send(mut stream: Box<dyn Duplex + Send>, length: u64, sum: bool) -> Option<Digest> {
    let mut piece = vec![0; PIECE];
    aws_lc_rs::rand::fill(&mut piece).unwrap();
    let mut digest = Context::new(&SHA256);
    let mut left = length;
    while left > 0 {
        // No two pieces are the same.
        piece[..8].copy_from_slice(&left.to_ne_bytes());
        let bytes = &piece[..PIECE.min(usize::try_from(left).unwrap())];
        if sum {
            digest.update(bytes);
        }
        stream.write_all(bytes).unwrap();
        left -= bytes.len() as u64;
    }
    stream.goodbye();
    let _ = stream.read(&mut [0; 16]);
    sum.then(|| digest.finish())
}

fn receive(mut stream: Box<dyn Duplex + Send>, length: u64, sum: bool) -> Option<Digest> {
    let mut piece = vec![0; PIECE];
    let mut digest = Context::new(&SHA256);
    let mut all = 0;
    loop {
        let count = stream.read(&mut piece).unwrap();
        if count == 0 {
            break;
        }
        if sum {
            digest.update(&piece[..count]);
        }
        all += count as u64;
    }
    assert_eq!(all, length);
    sum.then(|| digest.finish())
}

trait Duplex: Read + Write {
    fn goodbye(&mut self);
}

impl Duplex for TcpStream {
    fn goodbye(&mut self) {
        self.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

/// TLS that can say goodbye.
struct Closing<T>(T);

impl<T: Read> Read for Closing<T> {
    fn read(&mut self, memory: &mut [u8]) -> io::Result<usize> {
        self.0.read(memory)
    }
}

impl<T: Write> Write for Closing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Duplex for Closing<StreamOwned<ClientConnection, TcpStream>> {
    fn goodbye(&mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
    }
}

impl Duplex for Closing<StreamOwned<ServerConnection, TcpStream>> {
    fn goodbye(&mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
    }
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// This thread's CPU time, as Linux counts it.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}
