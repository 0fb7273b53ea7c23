//! Transfers over loopback sockets: every mix of modes, families and directions, and every way they go wrong.

mod tls;

use core::time::Duration;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::order::{Family, Meet};

/// A session's data connections in a task of their own.
struct Rig {
    orders: mpsc::UnboundedSender<DataOrder>,
    events: mpsc::UnboundedReceiver<DataEvent>,
    task: JoinHandle<()>,
}

impl Rig {
    fn new(mut data: Data) -> Self {
        let (orders, mut todo) = mpsc::unbounded_channel();
        let (tell, events) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    order = todo.recv() => match order {
                        Some(order) => data.order(order),
                        None => break,
                    },
                    event = data.event() => tell.send(event).unwrap(),
                }
            }
        });
        Self { orders, events, task }
    }

    fn order(&self, order: DataOrder) {
        self.orders.send(order).unwrap();
    }

    async fn event(&mut self) -> DataEvent {
        tokio::time::timeout(Duration::from_secs(20), self.events.recv()).await.expect("an event in time").unwrap()
    }

    async fn open(&mut self, client: Meet, host: Meet) -> (Option<SocketAddr>, Option<SocketAddr>) {
        self.order(DataOrder::Open { client, host });
        let event = self.event().await;
        let DataEvent::Ready { client, host } = event else { panic!("{event:?}") };
        (client, host)
    }

    fn start(&self, to: Side) {
        self.order(DataOrder::Start { client_tls: false, host_tls: false, to });
    }

    /// A started transfer, both sides in passive mode.
    async fn passive(&mut self, to: Side) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Meet::Connect(listener.local_addr().unwrap());
        let (client, _) = self.open(Meet::Listen(Family::V4), host).await;
        let client = TcpStream::connect(client.unwrap()).await.unwrap();
        let (host, _) = listener.accept().await.unwrap();
        self.start(to);
        (client, host)
    }
}

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => "127.0.0.1".parse().unwrap(),
        Family::V6 => "::1".parse().unwrap(),
    }
}

fn place(family: Family) -> Place {
    Place::new(SocketAddr::new(loopback(family), 21), SocketAddr::new(loopback(family), 40_000))
}

fn settings() -> Settings {
    let limits = Limits { linger: Duration::from_millis(200), ..Limits::default() };
    Settings { ports: 20_000..=30_000, limits, ..Settings::default() }
}

fn dice() -> Dice {
    Box::new(|bytes| aws_lc_rs::rand::fill(bytes).map_err(|_| io::Error::other("no randomness")))
}

fn data_of(settings: Settings, client: Family, host: Family) -> Data {
    let mut data = Data::new(Arc::new(settings), place(client), dice());
    data.set_host(place(host), None);
    data
}

fn rig_with(settings: Settings) -> Rig {
    Rig::new(data_of(settings, Family::V4, Family::V4))
}

fn rig() -> Rig {
    rig_with(settings())
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ (at / 65_537) as u8).collect()
}

async fn read_all(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.map(|_| all)
}

fn is_reset<T: std::fmt::Debug>(result: io::Result<T>) {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {}
        other => panic!("expected a reset, not {other:?}"),
    }
}

/// Our test peer's part in how a connection comes to be.
enum Peer {
    Listens(TcpListener),
    Connects(TcpSocket),
}

impl Peer {
    async fn new(listens: bool, family: Family) -> (Self, Meet) {
        if listens {
            let listener = TcpListener::bind((loopback(family), 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            (Self::Listens(listener), Meet::Connect(address))
        } else {
            let socket = if family == Family::V4 { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
            (Self::Connects(socket.unwrap()), Meet::Listen(family))
        }
    }

    async fn come(self, told: Option<SocketAddr>) -> TcpStream {
        match self {
            Self::Listens(listener) => listener.accept().await.unwrap().0,
            Self::Connects(socket) => socket.connect(told.unwrap()).await.unwrap(),
        }
    }
}

#[tokio::test]
async fn every_mix_of_modes_families_and_directions() {
    let bytes = pattern(1_500_000);
    for mix in 0..16_u8 {
        let [client_listens, host_listens, client_v6, host_v6] = [1, 2, 4, 8].map(|bit| mix & bit != 0);
        let family = |is_v6| if is_v6 { Family::V6 } else { Family::V4 };
        let (client_family, host_family) = (family(client_v6), family(host_v6));
        let mut rig = Rig::new(data_of(settings(), client_family, host_family));
        for to in [Side::Client, Side::Host] {
            for length in [0, 5, bytes.len()] {
                let context = format!("mix {mix:04b}, to {to:?}, {length} bytes");
                let (client, client_meet) = Peer::new(client_listens, client_family).await;
                let (host, host_meet) = Peer::new(host_listens, host_family).await;
                let (client_told, host_told) = rig.open(client_meet, host_meet).await;
                assert_eq!((client_told.is_some(), host_told.is_some()), (!client_listens, !host_listens), "{context}");
                rig.start(to);
                let (mut client, mut host) = tokio::join!(client.come(client_told), host.come(host_told));
                let (sender, receiver) =
                    if to == Side::Client { (&mut host, &mut client) } else { (&mut client, &mut host) };
                let (sent, got) = tokio::join!(
                    async {
                        sender.write_all(&bytes[..length]).await?;
                        sender.shutdown().await
                    },
                    async {
                        let got = read_all(receiver).await;
                        // Nobody knows yet who is the sender, if there was nothing to send.
                        receiver.shutdown().await?;
                        got
                    }
                );
                sent.unwrap();
                assert!(got.unwrap() == bytes[..length], "{context}");
                let length = length as u64;
                let (to_client, to_host) = if to == Side::Client { (length, 0) } else { (0, length) };
                assert_eq!(rig.event().await, DataEvent::Ended { to_client, to_host, clean: true }, "{context}");
            }
        }
    }
}

#[tokio::test]
async fn a_stranger_is_sent_away_and_listening_goes_on() {
    for side in [Side::Client, Side::Host] {
        let mut rig = rig();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (listen, connect) = (Meet::Listen(Family::V4), Meet::Connect(listener.local_addr().unwrap()));
        let told = match side {
            Side::Client => rig.open(listen, connect).await.0,
            Side::Host => rig.open(connect, listen).await.1,
        };
        for _ in 0..20 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            let mut stranger = socket.connect(told.unwrap()).await.unwrap();
            is_reset(stranger.read(&mut [0; 16]).await);
        }
        let mut peer = TcpStream::connect(told.unwrap()).await.unwrap();
        rig.start(side);
        let (mut across, _) = listener.accept().await.unwrap();
        across.write_all(b"only for the peer").await.unwrap();
        drop(across);
        assert_eq!(read_all(&mut peer).await.unwrap(), b"only for the peer");
        let closed = TcpStream::connect(told.unwrap()).await.unwrap_err();
        assert_eq!(closed.kind(), io::ErrorKind::ConnectionRefused, "the listener is gone once the peer is there");
    }
}

#[tokio::test]
async fn anybody_may_come_if_the_settings_say_so() {
    let mut settings = settings();
    settings.client.peers = Peers::Any;
    let mut rig = rig_with(settings);
    let host = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (told, _) = rig.open(Meet::Listen(Family::V4), Meet::Connect(host.local_addr().unwrap())).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(told.unwrap()).await.unwrap();
    rig.start(Side::Client);
    host.accept().await.unwrap().0.write_all(b"x").await.unwrap();
    assert_eq!(read_all(&mut other).await.unwrap(), b"x");
    // But we still connect to nobody but the client.
    let host = Meet::Listen(Family::V4);
    rig.order(DataOrder::Open { client: Meet::Connect("127.0.0.2:5000".parse().unwrap()), host });
    assert!(matches!(rig.event().await, DataEvent::Ended { clean: true, .. }));
    assert_eq!(rig.event().await, DataEvent::Failed(Side::Client));
}

#[tokio::test]
async fn nobody_else_and_no_low_port_is_connected_to() {
    let mut rig = rig();
    for address in ["127.0.0.2:5000", "127.0.0.1:1023", "127.0.0.1:0", "[::1]:5000"] {
        let client = Meet::Connect(address.parse().unwrap());
        rig.order(DataOrder::Open { client, host: Meet::Listen(Family::V4) });
        assert_eq!(rig.event().await, DataEvent::Failed(Side::Client), "{address}");
    }
    let client = Meet::Listen(Family::V4);
    rig.order(DataOrder::Open { client, host: Meet::Connect("127.0.0.1:1023".parse().unwrap()) });
    assert_eq!(rig.event().await, DataEvent::Failed(Side::Host));
    // A host's lie about its address is not followed: the connection goes to the control connection's peer.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    rig.order(DataOrder::Open { client, host: Meet::Connect(SocketAddr::new("192.0.2.1".parse().unwrap(), port)) });
    listener.accept().await.unwrap();
    assert!(matches!(rig.event().await, DataEvent::Ready { .. }));
    // Nobody listens there any more.
    drop(listener);
    rig.order(DataOrder::Open { client, host: Meet::Connect(SocketAddr::new("127.0.0.1".parse().unwrap(), port)) });
    assert_eq!(rig.event().await, DataEvent::Failed(Side::Host));
}

#[tokio::test]
async fn a_senders_reset_is_a_reset_for_the_receiver() {
    for to in [Side::Client, Side::Host] {
        let mut rig = rig();
        let (client, host) = rig.passive(to).await;
        let (mut sender, mut receiver) = if to == Side::Client { (host, client) } else { (client, host) };
        sender.write_all(&pattern(700_000)).await.unwrap();
        let mut some = vec![0; 700_000];
        receiver.read_exact(&mut some).await.unwrap();
        stream::abandon(&sender);
        drop(sender);
        is_reset(read_all(&mut receiver).await);
        let (to_client, to_host) = if to == Side::Client { (700_000, 0) } else { (0, 700_000) };
        assert_eq!(rig.event().await, DataEvent::Ended { to_client, to_host, clean: false });
    }
}

#[tokio::test]
async fn a_receiver_who_leaves_is_a_reset_for_the_sender() {
    let mut rig = rig();
    let (client, mut host) = rig.passive(Side::Client).await;
    host.write_all(b"beginning").await.unwrap();
    drop(client);
    let bytes = pattern(1_000_000);
    let mut result = Ok(());
    for _ in 0..100 {
        result = host.write_all(&bytes).await;
        if result.is_err() {
            break;
        }
    }
    is_reset(result);
    assert!(matches!(rig.event().await, DataEvent::Ended { clean: false, .. }));
}

#[tokio::test]
async fn a_receivers_half_close_does_not_end_a_transfer() {
    let mut rig = rig();
    let (mut client, mut host) = rig.passive(Side::Client).await;
    client.write_all(b"stray bytes").await.unwrap();
    client.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    host.write_all(b"all of it").await.unwrap();
    host.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await.unwrap(), b"all of it");
    assert_eq!(rig.event().await, DataEvent::Ended { to_client: 9, to_host: 0, clean: true });
    assert_eq!(read_all(&mut host).await.unwrap(), b"", "strays are not passed on");
}

#[tokio::test]
async fn silence_ends_a_transfer() {
    let mut settings = settings();
    settings.limits.stall = Duration::from_millis(200);
    let mut rig = rig_with(settings);
    for to in [Side::Host, Side::Client] {
        let (mut client, mut host) = rig.passive(to).await;
        is_reset(read_all(&mut host).await);
        is_reset(read_all(&mut client).await);
        assert_eq!(rig.event().await, DataEvent::Ended { to_client: 0, to_host: 0, clean: false });
    }
    // Slow is not silent.
    let (mut client, mut host) = rig.passive(Side::Host).await;
    for _ in 0..8 {
        client.write_all(b"x").await.unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    drop(client);
    assert_eq!(read_all(&mut host).await.unwrap().len(), 8);
    assert!(matches!(rig.event().await, DataEvent::Ended { clean: true, .. }));
}

#[tokio::test]
async fn a_receiver_who_does_not_read_is_silence_too() {
    let mut settings = settings();
    settings.limits.stall = Duration::from_millis(300);
    let mut rig = rig_with(settings);
    let (client, mut host) = rig.passive(Side::Client).await;
    let bytes = pattern(1_000_000);
    let result = async {
        loop {
            host.write_all(&bytes).await?;
        }
    };
    is_reset::<()>(result.await);
    assert!(matches!(rig.event().await, DataEvent::Ended { clean: false, .. }));
    drop(client);
}

#[tokio::test]
async fn a_peer_who_does_not_come_fails_the_transfer() {
    let mut settings = settings();
    settings.limits.meet = Duration::from_millis(100);
    let mut rig = rig_with(settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listens = Meet::Connect(listener.local_addr().unwrap());
    rig.open(Meet::Listen(Family::V4), listens).await;
    let (mut host, _) = listener.accept().await.unwrap();
    rig.start(Side::Host);
    assert_eq!(rig.event().await, DataEvent::Failed(Side::Client));
    is_reset(read_all(&mut host).await);
    rig.open(listens, Meet::Listen(Family::V4)).await;
    rig.start(Side::Client);
    let (mut client, _) = listener.accept().await.unwrap();
    assert_eq!(rig.event().await, DataEvent::Failed(Side::Host));
    is_reset(read_all(&mut client).await);
}

#[tokio::test]
async fn an_unused_pair_is_closed_by_the_last_word() {
    let mut rig = rig();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (told, _) = rig.open(Meet::Listen(Family::V4), Meet::Connect(listener.local_addr().unwrap())).await;
    let mut client = TcpStream::connect(told.unwrap()).await.unwrap();
    let (mut host, _) = listener.accept().await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    rig.order(DataOrder::Finish);
    assert_eq!(rig.event().await, DataEvent::Ended { to_client: 0, to_host: 0, clean: true });
    assert_eq!(read_all(&mut client).await.unwrap(), b"");
    assert_eq!(read_all(&mut host).await.unwrap(), b"");
    TcpStream::connect(told.unwrap()).await.unwrap_err();
}

#[tokio::test]
async fn a_host_that_gave_up_is_not_waited_for() {
    let mut rig = rig();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    rig.open(Meet::Connect(listener.local_addr().unwrap()), Meet::Listen(Family::V4)).await;
    rig.start(Side::Client);
    rig.order(DataOrder::Finish);
    assert_eq!(rig.event().await, DataEvent::Failed(Side::Host));
}

#[tokio::test]
async fn what_is_there_is_delivered_after_the_last_word() {
    let mut rig = rig();
    let (mut client, mut host) = rig.passive(Side::Client).await;
    let bytes = pattern(3_000_000);
    let (_, got) = tokio::join!(
        async {
            host.write_all(&bytes[..1_000_000]).await.unwrap();
            rig.order(DataOrder::Finish);
            tokio::time::sleep(Duration::from_millis(50)).await;
            host.write_all(&bytes[1_000_000..]).await.unwrap();
            host.shutdown().await.unwrap();
        },
        read_all(&mut client)
    );
    assert!(got.unwrap() == bytes);
    assert_eq!(rig.event().await, DataEvent::Ended { to_client: 3_000_000, to_host: 0, clean: true });
}

#[tokio::test]
async fn abort_another_open_and_the_sessions_end_are_resets() {
    let mut rig = rig();
    for order in [
        Some(DataOrder::Abort),
        Some(DataOrder::Open { client: Meet::Listen(Family::V4), host: Meet::Listen(Family::V4) }),
        None,
    ] {
        let (mut client, mut host) = rig.passive(Side::Host).await;
        client.write_all(b"begin").await.unwrap();
        host.read_exact(&mut [0; 5]).await.unwrap();
        if let Some(order) = order {
            rig.order(order);
            assert_eq!(rig.event().await, DataEvent::Ended { to_client: 0, to_host: 5, clean: false });
        } else {
            rig.task.abort();
        }
        is_reset(read_all(&mut host).await);
        is_reset(read_all(&mut client).await);
        if matches!(order, Some(DataOrder::Open { .. })) {
            assert!(matches!(rig.event().await, DataEvent::Ready { client: Some(_), host: Some(_) }));
        }
    }
}

#[tokio::test]
async fn a_start_without_an_open_fails_and_no_host_fails() {
    let mut rig = rig();
    rig.start(Side::Client);
    assert_eq!(rig.event().await, DataEvent::Failed(Side::Client));
    let mut data = Data::new(Arc::new(settings()), place(Family::V4), dice());
    assert!(data.is_idle());
    data.order(DataOrder::Open { client: Meet::Listen(Family::V4), host: Meet::Listen(Family::V4) });
    assert_eq!(data.event().await, DataEvent::Failed(Side::Host));
    // TLS that the control connection does not have.
    let (client, host) = (Meet::Listen(Family::V4), Meet::Listen(Family::V4));
    let (told, _) = rig.open(client, host).await;
    let _client = TcpStream::connect(told.unwrap()).await.unwrap();
    rig.order(DataOrder::Start { client_tls: true, host_tls: false, to: Side::Client });
    assert_eq!(rig.event().await, DataEvent::Failed(Side::Client));
}

#[tokio::test]
async fn the_other_tasks_get_their_turn() {
    let mut data = data_of(settings(), Family::V4, Family::V4);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = Meet::Connect(listener.local_addr().unwrap());
    data.order(DataOrder::Open { client: Meet::Listen(Family::V4), host });
    let DataEvent::Ready { client: Some(told), .. } = data.event().await else { panic!() };
    let mut client = TcpStream::connect(told).await.unwrap();
    let (mut host, _) = listener.accept().await.unwrap();
    data.order(DataOrder::Start { client_tls: false, host_tls: false, to: Side::Client });
    let bytes = pattern(64_000_000);
    let mut polls = 0_u32;
    let (_, _, event) = tokio::join!(
        async {
            host.write_all(&bytes).await.unwrap();
            host.shutdown().await.unwrap();
        },
        read_all(&mut client),
        core::future::poll_fn(|cx| {
            polls += 1;
            data.poll_event(cx)
        })
    );
    assert!(matches!(event, DataEvent::Ended { clean: true, to_client: 64_000_000, .. }));
    assert!(polls > 10, "{polls} polls for 64 MB");
}

#[test]
fn memory_is_held_only_while_bytes_are_in_it() {
    let mut chunk = stream::Chunk::default();
    let (count, ()) = chunk.fill(|memory| memory.put_slice(b"abc"));
    assert_eq!((count, chunk.bytes(), chunk.holds_memory()), (3, &b"abc"[..], true));
    chunk.advance(2);
    assert_eq!((chunk.bytes(), chunk.holds_memory()), (&b"c"[..], true));
    chunk.fill(|memory| memory.put_slice(b"de"));
    assert_eq!(chunk.bytes(), b"cde");
    chunk.advance(3);
    assert!(chunk.is_empty() && !chunk.holds_memory());
    chunk.fill(|_| ());
    assert!(!chunk.holds_memory(), "nothing was read");
}

#[tokio::test]
async fn a_port_that_nothing_is_transferred_over_is_closed() {
    let mut settings = settings();
    settings.limits.unused = Duration::from_millis(200);
    let mut rig = rig_with(settings);
    for has_come in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Meet::Connect(listener.local_addr().unwrap());
        let (told, _) = rig.open(Meet::Listen(Family::V4), host).await;
        let mut client = None;
        if has_come {
            client = Some(TcpStream::connect(told.unwrap()).await.unwrap());
        }
        let (mut host, _) = listener.accept().await.unwrap();
        if has_come {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The gate is told, and both see a reset, not the end of a file.
        assert_eq!(rig.event().await, DataEvent::Ended { to_client: 0, to_host: 0, clean: false });
        assert!(host.read(&mut [0; 4]).await.is_err());
        match &mut client {
            Some(client) => assert!(client.read(&mut [0; 4]).await.is_err()),
            None => assert!(TcpStream::connect(told.unwrap()).await.is_err()),
        }
        rig.start(Side::Client);
        assert_eq!(rig.event().await, DataEvent::Failed(Side::Client));
    }
    // Another one is as good as the first.
    let (_client, _host) = rig.passive(Side::Client).await;
}
