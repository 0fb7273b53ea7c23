//! Load for a gateway: a host that answers every record with a screen of 2 kB, and clients that sign on and stay.
//!
//! ```text
//! load certificate FILE                          a self-signed certificate and its key for 127.0.0.1, in one PEM file
//! load host ADDRESS [tls FILE]                   the host; runs until it is ended
//! load busy ADDRESS SESSIONS RATE SECONDS [tls]  exchanges of 100 bytes up, 2 kB down: p50 and p99 in microseconds
//! load idle ADDRESS SESSIONS PID[,PID] [tls]     resident memory of the processes before and with idle sessions
//! ```
//!
//! `benches/gateway/run` runs it directly, through HAProxy in TCP mode and through Sallyport, in one go. Every session is a
//! whole one: negotiation, sign-on display, sign-on, menu (RFC 4777 §2, RFC 1205).
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A stream, plain or TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

fn record(opcode: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len() + 10).expect("a short record").to_be_bytes();
    let mut wire = vec![length[0], length[1], 0x12, 0xA0, 0, 0, 4, 0, 0, opcode];
    wire.extend(data);
    assert!(!wire.contains(&0xFF), "no byte to double");
    wire.extend([0xFF, 0xEF]);
    wire
}

/// A sign-on display: user at 6,53, password at 7,53.
fn form() -> Vec<u8> {
    let mut data = vec![0x04, 0x40, 0x04, 0x11, 0x00, 0x18, 0x01, 0x07, 0, 0, 0, 0x18, 0, 0, 0];
    data.extend([0x11, 6, 52, 0x1D, 0x40, 0x20, 0x24, 0, 10, 0x11, 7, 52, 0x1D, 0x40, 0x20, 0x27, 0, 10]);
    data.extend([0x04, 0x52, 0, 0]);
    record(3, &data)
}

/// A screen of 2,048 bytes with one input field.
fn screen() -> Vec<u8> {
    let mut data = vec![0x04, 0x40, 0x04, 0x11, 0x00, 0x18, 0x01, 0x07, 0, 0, 0, 0x18, 0, 0, 0];
    data.extend([0x11, 20, 6, 0x1D, 0x40, 0x00, 0x24, 0, 70]);
    let mut row = 0;
    while data.len() < 2048 - 12 - 4 {
        row = row % 18 + 1;
        data.extend([0x11, row, 2, 0x20]);
        data.extend(std::iter::repeat_n(0xC1, 70.min(2048 - 12 - 4_usize.saturating_sub(0) - data.len())));
    }
    data.truncate(2048 - 12 - 4);
    data.extend([0x04, 0x52, 0, 0]);
    record(3, &data)
}

/// Reads until `end` stands at the end of the buffer, and empties it.
async fn read_until(stream: &mut dyn Stream, buffer: &mut BytesMut, end: &[u8]) -> Fallible<()> {
    loop {
        if let Some(at) = buffer.windows(end.len()).position(|window| window == end) {
            buffer.advance(at + end.len());
            return Ok(());
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err("closed by the other side".into());
        }
    }
}

const END: &[u8] = &[0xFF, 0xEF];

async fn host_session(mut stream: Box<dyn Stream>) -> Fallible<()> {
    let mut buffer = BytesMut::with_capacity(256);
    stream.write_all(b"\xFF\xFD\x18").await?;
    read_until(&mut *stream, &mut buffer, b"\xFF\xFB\x18").await?;
    stream.write_all(b"\xFF\xFA\x18\x01\xFF\xF0").await?;
    read_until(&mut *stream, &mut buffer, b"\xFF\xF0").await?;
    stream.write_all(b"\xFF\xFD\x19\xFF\xFB\x19\xFF\xFD\x00\xFF\xFB\x00").await?;
    read_until(&mut *stream, &mut buffer, b"\xFF\xFD\x00").await?;
    stream.write_all(&form()).await?;
    let screen = screen();
    loop {
        read_until(&mut *stream, &mut buffer, END).await?;
        stream.write_all(&screen).await?;
    }
}

async fn host(address: &str, tls: Option<&str>) -> Fallible<()> {
    let acceptor = tls.map(acceptor).transpose()?;
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let stream: Box<dyn Stream> = match acceptor {
                Some(acceptor) => Box::new(acceptor.accept(stream).await?),
                None => Box::new(stream),
            };
            host_session(stream).await
        });
    }
}

/// Connects and signs on; gives the stream with the menu on the screen.
async fn client(address: &str, tls: bool) -> Fallible<(Box<dyn Stream>, BytesMut)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut stream: Box<dyn Stream> = if tls {
        let name = ServerName::from(stream.peer_addr()?.ip());
        Box::new(connector()?.connect(name, stream).await?)
    } else {
        Box::new(stream)
    };
    let mut buffer = BytesMut::with_capacity(256);
    read_until(&mut *stream, &mut buffer, b"\xFF\xFD\x18").await?;
    stream.write_all(b"\xFF\xFB\x18").await?;
    read_until(&mut *stream, &mut buffer, b"\xFF\xF0").await?;
    stream.write_all(b"\xFF\xFA\x18\x00IBM-3179-2\xFF\xF0").await?;
    read_until(&mut *stream, &mut buffer, b"\xFF\xFB\x00").await?;
    stream.write_all(b"\xFF\xFB\x19\xFF\xFD\x19\xFF\xFB\x00\xFF\xFD\x00").await?;
    read_until(&mut *stream, &mut buffer, END).await?;
    let mut sign_on = vec![7, 53, 0xF1, 0x11, 6, 53];
    sign_on.extend([0xC1, 0xD5, 0xD5, 0xC1]);
    sign_on.extend([0x11, 7, 53, 0xE7, 0xE7, 0xE7]);
    stream.write_all(&record(3, &sign_on)).await?;
    read_until(&mut *stream, &mut buffer, END).await?;
    Ok((stream, buffer))
}

/// Input of 100 bytes in all.
fn input() -> Vec<u8> {
    let mut data = vec![20, 7, 0xF1, 0x11, 20, 7];
    data.extend([0xC2; 82]);
    record(3, &data)
}

async fn busy(address: &str, sessions: usize, rate: f64, seconds: f64, tls: bool) -> Fallible<()> {
    let mut tasks = JoinSet::new();
    let period = Duration::from_secs_f64(1.0 / rate);
    let start = Instant::now() + Duration::from_secs(2) + Duration::from_millis(sessions as u64 * 5);
    for number in 0..sessions {
        let address = address.to_owned();
        tasks.spawn(async move {
            let (mut stream, mut buffer) = client(&address, tls).await?;
            let input = input();
            // Spread over the period, so that the sessions do not move in step.
            let mut next = start + period.mul_f64(number as f64 / sessions as f64);
            let end = start + Duration::from_secs_f64(seconds);
            let mut times = Vec::new();
            while next < end {
                tokio::time::sleep_until(next.into()).await;
                let sent = Instant::now();
                stream.write_all(&input).await?;
                read_until(&mut *stream, &mut buffer, END).await?;
                times.push(sent.elapsed().as_micros() as u32);
                next += period;
            }
            Fallible::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done??);
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("exchanges {} p50 {} p99 {} max {}", times.len(), at(0.5), at(0.99), at(1.0));
    Ok(())
}

/// Resident memory of all processes named, in KiB.
fn resident(processes: &str) -> Fallible<u64> {
    let mut sum = 0;
    for process in processes.split(',') {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        sum += line.trim().trim_end_matches(" kB").trim().parse::<u64>()?;
    }
    Ok(sum)
}

async fn idle(address: &str, sessions: usize, processes: &str, tls: bool) -> Fallible<()> {
    // One session first, so that what is allocated once is not counted.
    let mut kept = vec![client(address, tls).await?];
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = resident(processes)?;
    while kept.len() <= sessions {
        let mut tasks = JoinSet::new();
        for _ in 0..50.min(sessions + 1 - kept.len()) {
            let address = address.to_owned();
            tasks.spawn(async move { client(&address, tls).await });
        }
        while let Some(done) = tasks.join_next().await {
            kept.push(done??);
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let with = resident(processes)?;
    let each = with.saturating_sub(before) as f64 / sessions as f64;
    println!("sessions {sessions} before {before} KiB with {with} KiB each {each:.2} KiB");
    Ok(())
}

fn acceptor(file: &str) -> Fallible<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(file)?;
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Trusts the certificate in the file that the environment names.
fn connector() -> Fallible<TlsConnector> {
    let file = std::env::var("LOAD_CERTIFICATE")?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificate(file: &str) -> Fallible<()> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    fs::write(file, made.cert.pem() + &made.signing_key.serialize_pem())?;
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Fallible<()> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().map_err(|_| "a second crypto provider")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments.as_slice() {
        ["certificate", file] => certificate(file),
        ["host", address] => host(address, None).await,
        ["host", address, "tls", file] => host(address, Some(file)).await,
        ["busy", address, sessions, rate, seconds, ref tls @ ..] => {
            busy(address, sessions.parse()?, rate.parse()?, seconds.parse()?, tls == ["tls"]).await
        }
        ["idle", address, sessions, processes, ref tls @ ..] => {
            idle(address, sessions.parse()?, processes, tls == ["tls"]).await
        }
        _ => Err("see the head of benches/gateway/load.rs".into()),
    }
}
