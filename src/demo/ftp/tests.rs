//! The simulated FTP host against our small client: each was written from the protocol.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::walk::{Client, open};
use super::*;

struct Bench {
    client: Client,
    address: SocketAddr,
    journal: UnboundedReceiver<Happening>,
}

impl Bench {
    async fn new() -> Self {
        let (sender, journal) = unbounded_channel();
        let settings = HostSettings { journal: Some(sender), ..HostSettings::default() }.with_account("anna", "garden");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let host = FtpHost::new(settings, System::new());
        tokio::spawn(async move { host.serve(listener, CancellationToken::new()).await });
        let mut client = Client::connect("testing", address).await.unwrap();
        client.expect("220").await.unwrap();
        Self { client, address, journal }
    }

    async fn logged_on() -> Self {
        let mut bench = Self::new().await;
        bench.says("USER anna", "331").await;
        bench.says("PASS garden", "230").await;
        bench.says("TYPE I", "200").await;
        bench
    }

    async fn says(&mut self, line: &str, expected: &'static str) -> String {
        self.client.command(line, expected).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn gets(&mut self, line: &str) -> String {
        let reply = self.says("EPSV", "229").await;
        self.client.read_data(self.address, &reply, line).await.unwrap()
    }

    async fn puts(&mut self, line: &str, content: &[u8], end: &'static str) {
        let reply = self.says("EPSV", "229").await;
        let mut data = open(self.address, &reply).await.unwrap();
        self.says(line, "150").await;
        data.write_all(content).await.unwrap();
        drop(data);
        self.client.expect(end).await.unwrap();
    }

    fn happened(&mut self) -> Option<Happening> {
        self.journal.try_recv().ok()
    }
}

#[tokio::test]
async fn nobody_gets_anywhere_without_the_password() {
    let mut bench = Bench::new().await;
    for line in ["LIST", "PASV", "CWD /", "RETR /README.TXT", "STOR x", "SYST", "XYZZY"] {
        bench.says(line, "530").await;
    }
    bench.says("PASS garden", "503").await;
    bench.says("USER Anna", "331").await;
    bench.says("PASS weeds", "530").await;
    assert_eq!(bench.happened(), Some(Happening::Ftp(FtpHappening::Refused { user: "ANNA".into() })));
    bench.says("PASS garden", "503").await;
    bench.says("USER Anna", "331").await;
    assert_eq!(bench.says("PASS garden", "230").await, "230 ANNA logged on.");
    assert!(bench.says("SYST", "215").await.contains("OS/400 is what this simulator simulates"));
    bench.says("REIN", "220").await;
    bench.says("PWD", "530").await;
    bench.says("QUIT", "221").await;
}

#[tokio::test]
async fn five_refusals_end_the_connection() {
    let mut bench = Bench::new().await;
    for _ in 0..5 {
        bench.says("USER anna", "331").await;
        bench.says("PASS no", "530").await;
    }
    assert!(bench.client.expect("").await.is_err());
}

#[tokio::test]
async fn files_come_and_go() {
    let mut bench = Bench::logged_on().await;
    assert!(bench.gets("LIST").await.contains(" README.TXT\r\n"));
    assert!(bench.gets("LIST -la /").await.contains("drwxrwxrwx"));
    assert_eq!(bench.gets("NLST").await, "README.TXT\r\norders.csv\r\npub\r\n");
    bench.says("CWD pub", "250").await;
    bench.puts("STOR a.txt", b"one\ntwo\n", "226").await;
    bench.puts("APPE a.txt", b"three\n", "226").await;
    assert_eq!(bench.says("SIZE a.txt", "213").await, "213 14");
    assert_eq!(bench.gets("RETR a.txt").await, "one\ntwo\nthree\n");
    bench.says("REST 8", "350").await;
    assert_eq!(bench.gets("RETR a.txt").await, "three\n");
    bench.says("TYPE A", "200").await;
    assert_eq!(bench.gets("RETR a.txt").await, "one\r\ntwo\r\nthree\r\n");
    bench.puts("STOR b.txt", b"four\r\n", "226").await;
    assert_eq!(bench.says("SIZE /pub/b.txt", "213").await, "213 5");
    bench.says("RNTO c.txt", "503").await;
    bench.says("RNFR b.txt", "350").await;
    bench.says("RNTO c.txt", "250").await;
    assert_eq!(bench.gets("NLST").await, "a.txt\r\nc.txt\r\n");
    bench.says("DELE c.txt", "250").await;
    bench.says("DELE c.txt", "550").await;
    bench.says("MKD d", "257").await;
    bench.says("RMD /pub", "550").await;
    bench.says("RMD d", "250").await;
    assert_eq!(bench.says("CDUP", "250").await, "250 \"/\" is current directory.");
    bench.says("MDTM README.TXT", "213").await;
    bench.says("RETR README.TXT", "425").await;
    bench.says("RETR no", "550").await;
}

#[tokio::test]
async fn active_connections_go_to_the_client_only() {
    let mut bench = Bench::logged_on().await;
    bench.says("PORT 192,0,2,1,4,1", "501").await;
    bench.says("EPRT |1|127.0.0.1|22|", "501").await;
    bench.says("PORT 1,2,3", "501").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for line in [format!("PORT 127,0,0,1,{},{}", port >> 8, port & 0xFF), format!("EPRT |1|127.0.0.1|{port}|")] {
        bench.says(&line, "200").await;
        bench.says("NLST pub", "150").await;
        let (mut data, _) = listener.accept().await.unwrap();
        assert_eq!(data.read(&mut [0]).await.unwrap(), 0);
        drop(data);
        bench.client.expect("250").await.unwrap();
    }
}

#[tokio::test]
async fn a_transfer_can_be_aborted() {
    let mut bench = Bench::logged_on().await;
    bench.says("PASV", "227").await;
    bench.says("STOR x", "150").await;
    bench.says("NOOP", "503").await;
    bench.says("ABOR", "426").await;
    bench.client.expect("226").await.unwrap();
    bench.says("SIZE x", "550").await;
}
