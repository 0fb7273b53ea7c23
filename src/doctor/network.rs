//! What is on other machines: names, the hosts and their certificates.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proxy_ftp::gate::HostTls;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::certificate::good_until;
use super::{Context, Depth, Finding};
use crate::config::{Address, Host, Target};
use crate::tls;

/// How long anything on the network may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The most bytes of what an FTP server says before TLS begins.
const GREETING_MAX: u64 = 16 * 1024;

/// How to speak TLS to a host, and its name.
type Tls<'a> = Option<&'a (Arc<ClientConfig>, ServerName<'static>)>;

/// Whether the names of hosts, relays and servers have addresses.
pub(super) async fn names(at: &Context) -> Vec<Finding> {
    let config = &at.config;
    let mut names = vec![(config.smtp.host.clone(), config.smtp.port)];
    names.extend(config.smtp_fallbacks.iter().map(|relay| (relay.host.clone(), relay.port)));
    let servers = config.radius.iter().flat_map(|radius| &radius.servers).map(|server| &server.address);
    let sinks = config.audit.sinks.iter().filter_map(|sink| match &sink.target {
        Target::Syslog { address, .. } | Target::Webhook { address, .. } => Some(address),
        Target::File(_) => None,
    });
    names.extend(servers.chain(sinks).map(|address| (address.name.clone(), address.port)));
    for host in &at.config.hosts {
        names.push((host.address.name.clone(), host.address.port));
        names.push((host.ftp.address.name.clone(), host.ftp.address.port));
    }
    names.sort();
    names.dedup_by(|a, b| a.0 == b.0);
    let mut findings = Vec::new();
    for (name, port) in names {
        findings.push(match resolve(&name, port).await {
            Ok(addresses) => {
                let addresses: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
                Finding::ok(name, addresses.join(", "))
            }
            Err(error) => Finding::problem(
                name,
                error.to_string(),
                "look at the name, /etc/hosts, /etc/resolv.conf and the resolver",
            ),
        });
    }
    findings
}

async fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::time::timeout(LIMIT, tokio::net::lookup_host((name, port))).await;
    let mut addresses: Vec<_> = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?.collect();
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() { Err(io::Error::other("it has no address")) } else { Ok(addresses) }
}

/// Whether the hosts can be reached, and show the certificates that they should.
pub(super) async fn hosts(at: &Context) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, host) in at.config.hosts.iter().enumerate() {
        let has = |ftp: bool| {
            at.config.listeners.iter().any(|listener| listener.host == index && listener.ftp.is_some() == ftp)
        };
        if has(false) {
            let tls = at.open.as_ref().ok().and_then(|open| open.hosts.get(index)?.as_ref());
            findings.extend(telnet(at, host, tls).await);
        }
        if has(true) {
            let tls = at.open.as_ref().ok().and_then(|open| open.ftp_hosts.get(index)?.as_ref());
            findings.extend(ftp(at, host, tls).await);
        }
    }
    findings
}

async fn telnet(at: &Context, host: &Host, tls: Tls<'_>) -> Vec<Finding> {
    let subject = format!("{} Telnet at {}", host.name, host.address);
    let (mut findings, stream) = reach(at, &subject, &host.address).await;
    let Some(stream) = stream else { return findings };
    match (tls, &host.tls) {
        (Some(tls), _) => findings.push(handshake(at, subject, stream, tls).await),
        // What is wrong with its files is told by the check of the configuration.
        (None, Some(_)) => {}
        (None, None) => findings.push(plain(subject)),
    }
    findings
}

fn plain(subject: String) -> Finding {
    let advice = "[host.tls] where the network between gateway and host is not yours alone";
    Finding::warning(subject, "without TLS: passwords cross the network readable", advice)
}

async fn ftp(at: &Context, host: &Host, tls: Tls<'_>) -> Vec<Finding> {
    let subject = format!("{} FTP at {}", host.name, host.ftp.address);
    let (mut findings, stream) = reach(at, &subject, &host.ftp.address).await;
    let Some(mut stream) = stream else { return findings };
    if host.ftp.tls != HostTls::Implicit {
        let asked = tokio::time::timeout(LIMIT, greeting(&mut stream, host.ftp.tls == HostTls::Explicit)).await;
        if let Err(found) = asked.unwrap_or_else(|_| Err("it says nothing".to_owned())) {
            findings.push(Finding::problem(subject, found, "look whether an FTP server is there (STRTCPSVR *FTP)"));
            return findings;
        }
    }
    match (tls, host.ftp.tls) {
        (_, HostTls::Off) => findings.push(plain(subject)),
        (Some(tls), HostTls::Explicit | HostTls::Implicit) => findings.push(handshake(at, subject, stream, tls).await),
        (None, HostTls::Explicit | HostTls::Implicit) => {}
    }
    findings
}

/// Reads what an FTP server greets with, and asks for TLS where `secure`.
async fn greeting(stream: &mut TcpStream, secure: bool) -> Result<(), String> {
    let mut lines = BufReader::new((&mut *stream).take(GREETING_MAX));
    final_line(&mut lines, "220").await?;
    drop(lines);
    if secure {
        stream.write_all(b"AUTH TLS\r\n").await.map_err(|error| error.to_string())?;
        final_line(&mut BufReader::new(stream.take(GREETING_MAX)), "234").await?;
    }
    Ok(())
}

/// Reads to the last line of a reply, which has to begin with `code`.
async fn final_line(lines: &mut (impl AsyncBufReadExt + Unpin), code: &str) -> Result<(), String> {
    loop {
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line).await.map_err(|error| error.to_string())?;
        if line.is_empty() {
            return Err("it closes the connection".to_owned());
        }
        if line.get(3) == Some(&b' ') && line.iter().take(3).all(u8::is_ascii_digit) {
            let said = String::from_utf8_lossy(line.get(..3).unwrap_or_default()).into_owned();
            return if said == code { Ok(()) } else { Err(format!("it says {said} where {code} was expected")) };
        }
    }
}

/// Connects to `address`: what was found, and the connection.
async fn reach(at: &Context, subject: &str, address: &Address) -> (Vec<Finding>, Option<TcpStream>) {
    let addresses = match resolve(&address.name, address.port).await {
        Ok(addresses) => addresses,
        Err(error) => return (vec![Finding::problem(subject, error.to_string(), "see the check of the names")], None),
    };
    let (mut findings, mut reached) = (Vec::new(), None);
    for to in addresses {
        let connecting = tokio::time::timeout(at.config.limits.host_connect, TcpStream::connect(to)).await;
        match connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                findings.push(Finding::ok(subject, format!("{} can be reached", to.ip())));
                reached = Some(stream);
                if at.depth != Depth::Deep {
                    break;
                }
            }
            Err(error) => {
                let advice = if error.kind() == io::ErrorKind::ConnectionRefused {
                    "the host is there but nobody listens: STRTCPSVR, or another port"
                } else {
                    "look at the address, the route and the firewalls between gateway and host"
                };
                findings.push(Finding::problem(subject, format!("{} cannot be reached: {error}", to.ip()), advice));
            }
        }
    }
    (findings, reached)
}

/// Does the handshake as the gateway would, and looks at the certificate.
async fn handshake(
    at: &Context,
    subject: String,
    stream: TcpStream,
    (config, name): &(Arc<ClientConfig>, ServerName<'static>),
) -> Finding {
    match tls::connect(Arc::clone(config), name.clone(), stream, LIMIT).await {
        Ok(stream) => {
            let connection = stream.get_ref().1;
            let speaks = tls::describe(connection).unwrap_or_default();
            let Some([certificate, ..]) = connection.peer_certificates() else {
                return Finding::problem(subject, "it shows no certificate", "a certificate for the host's server");
            };
            let good = good_until(subject, certificate, at.system.now());
            let found = format!("{speaks}; its certificate is {}; {}", tls::Pin::of(certificate), good.found);
            Finding { found, ..good }
        }
        Err(error) => {
            let advice = "compare with what the host shows: openssl s_client -connect HOST:PORT; then ca_file, pins or \
                          server_name in the host's TLS table";
            Finding::problem(subject, error.to_string(), advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn greeted(says: &'static [u8], secure: bool) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_, greeted) = tokio::join!(
            async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(says).await.unwrap();
                if secure {
                    let mut asked = [0; 10];
                    stream.read_exact(&mut asked).await.unwrap();
                    assert_eq!(&asked, b"AUTH TLS\r\n");
                    stream.write_all(b"234 go on\r\n").await.unwrap();
                }
            },
            async { greeting(&mut TcpStream::connect(address).await.unwrap(), secure).await }
        );
        greeted
    }

    #[tokio::test]
    async fn ftp_servers_greet() {
        assert_eq!(greeted(b"220-QTCP at HOST\r\n220 Connection will close\r\n", false).await, Ok(()));
        assert_eq!(greeted(b"220 hello\r\n", true).await, Ok(()));
        assert!(greeted(b"421 not now\r\n", false).await.unwrap_err().contains("it says 421"));
        assert!(greeted(b"", false).await.unwrap_err().contains("closes"));
    }

    #[tokio::test]
    async fn a_name_that_is_none() {
        assert!(resolve("no-such-name.invalid", 23).await.is_err());
        assert_eq!(resolve("127.0.0.1", 23).await.unwrap(), ["127.0.0.1:23".parse().unwrap()]);
    }
}
