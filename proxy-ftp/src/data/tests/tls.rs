//! Transfers under TLS: resumption towards both sides, goodbyes, truncation, and who may resume what.

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, client, server};

use super::*;

/// One certificate, for the listener and the host alike, and a client's trust in it.
fn configs(only_tls12: bool) -> (ServerConfig, ClientConfig) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions(only_tls12))
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(only_tls12))
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, client)
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// A session with TLS on both control connections, and the peers of it.
struct Secure {
    rig: Rig,
    /// The client under test is played by what we use towards hosts.
    client: HostTls,
    host: TlsAcceptor,
    listener: TcpListener,
}

impl Secure {
    async fn new(only_tls12: bool, settings: Settings, requires_reuse: bool) -> Self {
        let (mut server, client) = configs(only_tls12);
        // As stingy as OpenSSL: one use each, and one new for each resumption.
        server.send_tls13_tickets = 1;
        let front = ClientTls::new(&server, requires_reuse);
        let host = TlsAcceptor::from(Arc::new(server));
        let (client, back) = (HostTls::new(&client, name()), HostTls::new(&client, name()));
        control(client.clone(), |stream| front.accept_control(stream)).await;
        control(back.clone(), |stream| host.accept(stream)).await;
        let mut data = data_of(settings, Family::V4, Family::V4);
        data.set_client_tls(front);
        data.set_host(place(Family::V4), Some(back));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { rig: Rig::new(data), client, host, listener }
    }

    /// Both peers' TCP connections; every other time both are active.
    async fn connect(&mut self, tls: [bool; 2], to: Side, is_active: bool) -> (TcpStream, TcpStream) {
        let [client_tls, host_tls] = tls;
        let start = DataOrder::Start { client_tls, host_tls, to };
        let (listen, there) = (Meet::Listen(Family::V4), Meet::Connect(self.listener.local_addr().unwrap()));
        if is_active {
            let (_, told) = self.rig.open(there, listen).await;
            self.rig.order(start);
            let (client, host) = tokio::join!(self.listener.accept(), TcpStream::connect(told.unwrap()));
            (client.unwrap().0, host.unwrap())
        } else {
            let (told, _) = self.rig.open(listen, there).await;
            self.rig.order(start);
            let (client, host) = tokio::join!(TcpStream::connect(told.unwrap()), self.listener.accept());
            (client.unwrap(), host.unwrap().0)
        }
    }

    async fn shake(
        &mut self,
        to: Side,
        is_active: bool,
    ) -> (client::TlsStream<TcpStream>, server::TlsStream<TcpStream>) {
        let (client, host) = self.connect([true, true], to, is_active).await;
        let (client, host) = tokio::join!(self.client.connect(client), self.host.accept(host));
        (client.unwrap(), host.unwrap())
    }
}

/// A control connection's handshake, and one line after it, with which the tickets come.
async fn control<F>(client: HostTls, accept: impl FnOnce(tokio::io::DuplexStream) -> F)
where
    F: Future<Output = io::Result<server::TlsStream<tokio::io::DuplexStream>>>,
{
    let (near, far) = tokio::io::duplex(65_536);
    let (client, server) = tokio::join!(client.connect(near), accept(far));
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    assert_eq!(server.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    server.write_all(b"220\r\n").await.unwrap();
    client.read_exact(&mut [0; 5]).await.unwrap();
}

#[tokio::test]
async fn sessions_are_resumed_on_both_sides_however_many_transfers() {
    let bytes = pattern(1_000_000);
    for only_tls12 in [false, true] {
        let mut secure = Secure::new(only_tls12, settings(), true).await;
        for turn in 0..24_usize {
            let context = format!("TLS 1.2: {only_tls12}, transfer {turn}");
            let length = if turn % 3 == 0 { bytes.len() } else { turn };
            let to = if turn % 4 == 0 { Side::Client } else { Side::Host };
            let (mut client, mut host) = secure.shake(to, turn % 2 == 0).await;
            assert_eq!(client.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "client, {context}");
            assert_eq!(host.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "host, {context}");
            let mut got = Vec::new();
            let mut answer = Vec::new();
            if to == Side::Client {
                tokio::join!(
                    async {
                        host.write_all(&bytes[..length]).await.unwrap();
                        host.shutdown().await.unwrap();
                    },
                    async { client.read_to_end(&mut got).await.unwrap() }
                );
                client.shutdown().await.unwrap();
            } else {
                tokio::join!(
                    async {
                        client.write_all(&bytes[..length]).await.unwrap();
                        client.shutdown().await.unwrap();
                        // As Python's ftplib does: it wants our goodbye before it goes on.
                        client.read_to_end(&mut answer).await.unwrap()
                    },
                    async { host.read_to_end(&mut got).await.unwrap() }
                );
            }
            assert!(got == bytes[..length], "{context}");
            let length = length as u64;
            let (to_client, to_host) = if to == Side::Client { (length, 0) } else { (0, length) };
            assert_eq!(secure.rig.event().await, DataEvent::Ended { to_client, to_host, clean: true }, "{context}");
        }
    }
}

#[tokio::test]
async fn each_side_has_tls_or_not_by_itself() {
    let bytes = pattern(800_000);
    let mut secure = Secure::new(false, settings(), false).await;
    for (turn, to) in [Side::Client, Side::Host, Side::Client, Side::Host].into_iter().enumerate() {
        let client_tls = turn < 2;
        let (client, host) = secure.connect([client_tls, !client_tls], to, turn % 2 == 0).await;
        let (mut plain, mut tls): (TcpStream, Box<dyn Duplex>) = if client_tls {
            (host, Box::new(secure.client.connect(client).await.unwrap()))
        } else {
            (client, Box::new(secure.host.accept(host).await.unwrap()))
        };
        let tls_sends = client_tls == (to == Side::Host);
        let (sender, receiver): (&mut dyn Duplex, &mut dyn Duplex) =
            if tls_sends { (&mut *tls, &mut plain) } else { (&mut plain, &mut *tls) };
        let mut got = Vec::new();
        tokio::join!(
            async {
                sender.write_all(&bytes).await.unwrap();
                sender.shutdown().await.unwrap();
            },
            async { receiver.read_to_end(&mut got).await.unwrap() }
        );
        assert!(got == bytes, "turn {turn}");
        assert!(matches!(secure.rig.event().await, DataEvent::Ended { clean: true, .. }));
    }
}

trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Duplex for T {}

#[tokio::test]
async fn tcps_end_without_tlss_goodbye_is_a_cut() {
    for to in [Side::Client, Side::Host] {
        let mut secure = Secure::new(false, settings(), false).await;
        let (mut client, mut host) = secure.shake(to, false).await;
        let mut some = [0; 4];
        if to == Side::Client {
            host.write_all(b"half").await.unwrap();
            client.read_exact(&mut some).await.unwrap();
            drop(host.into_inner());
            is_reset(client.read(&mut some).await);
        } else {
            client.write_all(b"half").await.unwrap();
            host.read_exact(&mut some).await.unwrap();
            drop(client.into_inner());
            is_reset(host.read(&mut some).await);
        }
        let (to_client, to_host) = if to == Side::Client { (4, 0) } else { (0, 4) };
        assert_eq!(secure.rig.event().await, DataEvent::Ended { to_client, to_host, clean: false });
    }
}

#[tokio::test]
async fn a_missing_goodbye_is_passed_on_where_the_settings_say_so() {
    let mut settings = settings();
    settings.client.truncation = Truncation::PassOn;
    let mut secure = Secure::new(false, settings, false).await;
    let (mut client, mut host) = secure.shake(Side::Host, false).await;
    client.write_all(b"no goodbye").await.unwrap();
    drop(client.into_inner());
    let mut got = Vec::new();
    let error = host.read_to_end(&mut got).await.unwrap_err();
    assert_eq!((error.kind(), &got[..]), (io::ErrorKind::UnexpectedEof, &b"no goodbye"[..]), "the host can tell");
    assert_eq!(secure.rig.event().await, DataEvent::Ended { to_client: 0, to_host: 10, clean: true });
    // A host without TLS could not tell, so for it the file is cut.
    let (client, mut host) = secure.connect([true, false], Side::Host, false).await;
    let mut client = secure.client.connect(client).await.unwrap();
    client.write_all(b"no goodbye").await.unwrap();
    host.read_exact(&mut [0; 10]).await.unwrap();
    drop(client.into_inner());
    is_reset(host.read(&mut [0; 4]).await);
    assert!(matches!(secure.rig.event().await, DataEvent::Ended { clean: false, .. }));
    // The other side's setting is its own.
    let (mut client, host) = secure.shake(Side::Client, false).await;
    drop(host.into_inner());
    is_reset(client.read(&mut [0; 4]).await);
    assert!(matches!(secure.rig.event().await, DataEvent::Ended { clean: false, .. }));
}

#[tokio::test]
async fn an_abort_gives_no_goodbye() {
    let mut secure = Secure::new(false, settings(), false).await;
    let (mut client, mut host) = secure.shake(Side::Host, false).await;
    client.write_all(b"begin").await.unwrap();
    host.read_exact(&mut [0; 5]).await.unwrap();
    secure.rig.order(DataOrder::Abort);
    is_reset(host.read(&mut [0; 5]).await);
    is_reset(client.read(&mut [0; 5]).await);
    assert_eq!(secure.rig.event().await, DataEvent::Ended { to_client: 0, to_host: 5, clean: false });
}

#[tokio::test]
async fn another_control_connections_session_is_not_known() {
    for only_tls12 in [false, true] {
        let (server, base) = configs(only_tls12);
        // What both listeners' sessions have in common: the certificate, and what `server` remembers.
        let other = ClientTls::new(&server, false);
        for requires_reuse in [true, false] {
            let intruder = HostTls::new(&base, name());
            control(intruder.clone(), |stream| other.accept_control(stream)).await;
            let mut data = data_of(settings(), Family::V4, Family::V4);
            data.set_client_tls(ClientTls::new(&server, requires_reuse));
            let mut rig = Rig::new(data);
            let host = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (told, _) = rig.open(Meet::Listen(Family::V4), Meet::Connect(host.local_addr().unwrap())).await;
            rig.order(DataOrder::Start { client_tls: true, host_tls: false, to: Side::Client });
            let client = TcpStream::connect(told.unwrap()).await.unwrap();
            host.accept().await.unwrap().0.write_all(b"file").await.unwrap();
            let mut got = Vec::new();
            let mut kind = None;
            let read = match intruder.connect(client).await {
                Ok(mut stream) => {
                    kind = stream.get_ref().1.handshake_kind();
                    stream.read_to_end(&mut got).await
                }
                Err(error) => Err(error),
            };
            if requires_reuse {
                read.unwrap_err();
                assert!(got.is_empty());
                assert_eq!(rig.event().await, DataEvent::Failed(Side::Client));
            } else {
                assert_eq!((read.unwrap(), &got[..], kind), (4, &b"file"[..], Some(HandshakeKind::Full)));
            }
        }
    }
}

#[tokio::test]
async fn a_handshake_that_fails_or_does_not_come_fails_the_transfer() {
    let mut settings = settings();
    settings.limits.handshake = Duration::from_millis(150);
    let mut secure = Secure::new(false, settings, false).await;
    let (mut client, mut host) = secure.connect([true, false], Side::Host, false).await;
    client.write_all(b"this is not TLS").await.unwrap();
    assert_eq!(secure.rig.event().await, DataEvent::Failed(Side::Client));
    is_reset(read_all(&mut host).await);
    let (_client, _host) = secure.connect([true, false], Side::Host, false).await;
    assert_eq!(secure.rig.event().await, DataEvent::Failed(Side::Client));
    let (mut client, _host) = secure.connect([false, true], Side::Client, false).await;
    assert_eq!(secure.rig.event().await, DataEvent::Failed(Side::Host));
    is_reset(read_all(&mut client).await);
    // A host whose certificate is not the right one.
    let (client, host) = secure.connect([false, true], Side::Client, true).await;
    let other = TlsAcceptor::from(Arc::new(configs(false).0));
    assert!(other.accept(host).await.is_err());
    assert_eq!(secure.rig.event().await, DataEvent::Failed(Side::Host));
    drop(client);
}
