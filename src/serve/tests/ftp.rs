//! FTP through a whole gateway in front of the simulated FTP host.

use tokio::io::{AsyncBufReadExt, BufReader};

use super::*;
use crate::demo::FtpHost;

async fn ftp_host() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let host = FtpHost::new(HostSettings::default().with_account("anna", "garden"), System::new());
    tokio::spawn(async move { host.serve(listener, CancellationToken::new()).await });
    address
}

async fn bench(listener_lines: &str) -> Bench {
    let host = format!("[host.ftp]\naddress = \"{}\"", ftp_host().await);
    Bench::new("127.0.0.1:9".parse().unwrap(), &host, &format!("service = \"ftp\"\n{listener_lines}"), "").await
}

/// A client of few words.
struct Client<S>(BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    /// Reads to the end of a reply; gives its last line.
    async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(LIMIT, self.0.read_line(&mut line)).await;
            read.expect("a reply in time").unwrap();
            if line.is_empty() || line.as_bytes().get(3) == Some(&b' ') {
                return line;
            }
        }
    }

    async fn says(&mut self, line: &str, expected: &str) -> String {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        let reply = self.reply().await;
        assert!(reply.starts_with(expected), "{line}: {reply}");
        reply
    }

    async fn log_on(&mut self) {
        self.says("USER anna", "331").await;
        self.says("PASS garden", "230").await;
    }

    /// Where the reply to EPSV leads.
    async fn data_port(&mut self) -> u16 {
        let reply = self.says("EPSV", "229").await;
        reply.split('|').nth(3).unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn a_session_is_listed_ended_and_in_the_audit() {
    let bench = bench("").await;
    let mut client = Client::new(bench.connect().await);
    assert!(client.reply().await.starts_with("220 "));
    client.says("LIST", "530").await;
    client.log_on().await;
    let list = bench.running.sessions.list();
    let [listed] = list.as_slice() else { panic!("{list:?}") };
    assert_eq!((listed.user.as_deref(), listed.state, listed.service), (Some("ANNA"), State::Admitted, Service::Ftp));
    assert!(listed.client_bytes > 20 && listed.host_bytes > 100, "{listed:?}");
    let port = client.data_port().await;
    let mut data = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client.says("NLST", "150").await;
    let mut names = String::new();
    data.read_to_string(&mut names).await.unwrap();
    assert!(names.contains("README.TXT\r\n"), "{names}");
    assert!(client.reply().await.starts_with("250"));
    let before = listed.host_bytes;
    assert!(bench.running.sessions.list()[0].host_bytes >= before + names.len() as u64, "data counts as well");
    control::ask(bench.running.control(), &Command::SessionEnd { id: listed.id.clone() }).await.unwrap();
    assert!(client.reply().await.starts_with("421 "));
    let how = bench.how_it_ended().await;
    assert!(how.starts_with("ended by an operator or a shutdown; "), "{how}");
}

#[tokio::test]
async fn stopping_says_so() {
    let bench = bench("").await;
    let mut client = Client::new(bench.connect().await);
    client.reply().await;
    client.log_on().await;
    let stopped = tokio::spawn(bench.running.stop());
    assert!(client.reply().await.starts_with("421 "));
    stopped.await.unwrap();
}

#[tokio::test]
async fn who_comes_through_a_balancer_is_who_may_fetch_data() {
    let bench = bench("proxy_protocol_from = [\"127.0.0.1\"]\n[listener.ftp]\ndata_seconds = 1").await;
    let mut stream = bench.connect().await;
    stream.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 40001 21\r\n").await.unwrap();
    let mut client = Client::new(stream);
    client.reply().await;
    client.log_on().await;
    assert_eq!(bench.running.sessions.list()[0].source.to_string(), "192.0.2.7:40001");
    let stranger = TcpStream::connect(("127.0.0.1", client.data_port().await)).await.unwrap();
    let first = client.says("NLST", "").await;
    let last = if first.starts_with('1') { client.reply().await } else { first };
    assert!(last.starts_with("42"), "{last}");
    assert!(is_closed(stranger).await, "the balancer's address is not the client's");
}

#[tokio::test]
async fn tls_by_auth_and_private_data() {
    let folder = Folder::new();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(folder.path("c.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.path("k.pem"), key.serialize_pem()).unwrap();
    let path = |name| folder.path(name).display().to_string();
    let bench =
        bench(&format!("[listener.tls]\ncertificate = \"{}\"\nkey = \"{}\"", path("c.pem"), path("k.pem"))).await;
    let mut client = Client::new(bench.connect().await);
    client.reply().await;
    client.says("USER anna", "530").await;
    client.says("AUTH TLS", "234").await;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let config = tls::host_config(Trust::Roots(roots)).unwrap();
    let name = || ServerName::try_from("localhost").unwrap();
    let stream = tls::connect(Arc::clone(&config), name(), client.0.into_inner(), LIMIT).await.unwrap();
    let mut client = Client::new(stream);
    client.log_on().await;
    client.says("EPSV", "229").await;
    client.says("NLST", "52").await;
    client.says("PBSZ 0", "200").await;
    client.says("PROT P", "200").await;
    let data = TcpStream::connect(("127.0.0.1", client.data_port().await)).await.unwrap();
    let (mut data, _) =
        tokio::join!(async { tls::connect(config, name(), data, LIMIT).await.unwrap() }, client.says("NLST", "150"));
    let mut names = String::new();
    data.read_to_string(&mut names).await.unwrap();
    assert!(names.contains("README.TXT\r\n"), "{names}");
    data.shutdown().await.unwrap();
    assert!(client.reply().await.starts_with("250"));
}

#[tokio::test]
async fn a_host_that_is_down_lets_nobody_in() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let host = format!("[host.ftp]\naddress = \"{address}\"");
    let bench = Bench::new(address, &host, "service = \"ftp\"", "").await;
    let mut client = Client::new(bench.connect().await);
    let reply = client.reply().await;
    assert!(reply.starts_with("421 "), "{reply}");
    let how = bench.how_it_ended().await;
    assert!(how.starts_with("host not available"), "{how}");
}
