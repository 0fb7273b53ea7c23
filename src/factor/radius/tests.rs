//! The client against a server that answers as a test wants: honestly, or as somebody who has not the secret.

use super::*;

const SECRET: &str = "a secret of 24 letters..";

/// What a server's reply is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Honest,
    WrongSecret,
    WrongResponseAuthenticator,
    WithoutMessageAuthenticator,
    WrongMessageAuthenticator,
    TwoMessageAuthenticators,
    WrongIdentifier,
    RequestCode,
    OtherSource,
    Short,
    Garbage,
    Silence,
}

fn reply(request: &[u8], code: u8, more: &[(u8, &[u8])], how: Reply) -> Vec<u8> {
    let request = packet::parse(request).unwrap();
    let secret = Secret::new(if how == Reply::WrongSecret { "another secret .........." } else { SECRET }.to_owned());
    let code = if how == Reply::RequestCode { ACCESS_REQUEST } else { code };
    let identifier =
        if how == Reply::WrongIdentifier { request.identifier.wrapping_add(1) } else { request.identifier };
    let mut attributes = vec![];
    if how != Reply::WithoutMessageAuthenticator {
        attributes.push((MESSAGE_AUTHENTICATOR, [0; 16].as_slice()));
    }
    if how == Reply::TwoMessageAuthenticators {
        attributes.push((MESSAGE_AUTHENTICATOR, [0; 16].as_slice()));
    }
    attributes.extend_from_slice(more);
    let mut bytes = packet::write(code, identifier, request.authenticator, &attributes).unwrap();
    if how != Reply::WithoutMessageAuthenticator {
        let mut mark = message_authenticator(&bytes, &secret);
        if how == Reply::WrongMessageAuthenticator {
            mark[3] ^= 1;
        }
        bytes.splice(HEADER + 2..HEADER + 18, mark);
    }
    let mut response: [u8; 16] = Md5::new().chain_update(&bytes).chain_update(secret.expose()).finalize().into();
    if how == Reply::WrongResponseAuthenticator {
        response[0] ^= 1;
    }
    bytes.splice(4..HEADER, response);
    if how == Reply::Short {
        bytes.truncate(bytes.len() - 1);
    }
    if how == Reply::Garbage { b"hello".to_vec() } else { bytes }
}

/// A server that gives these replies, one for each request, and the last one for all that follow; how many requests came.
async fn server(replies: Vec<(u8, Reply)>) -> (Server, Arc<std::sync::Mutex<Vec<Vec<u8>>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let seen: Arc<std::sync::Mutex<Vec<Vec<u8>>>> = Arc::default();
    let requests = Arc::clone(&seen);
    tokio::spawn(async move {
        let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut buffer = vec![0; PACKET_MAX];
        let mut replies = replies.into_iter().peekable();
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            requests.lock().unwrap().push(buffer[..length].to_vec());
            let (code, how) = *replies.peek().unwrap();
            if replies.len() > 1 {
                replies.next();
            }
            let bytes = reply(&buffer[..length], code, &[], how);
            let from = if how == Reply::OtherSource { &stranger } else { &socket };
            if how != Reply::Silence {
                from.send_to(&bytes, client).await.unwrap();
            }
        }
    });
    let secret = Secret::new(SECRET.to_owned());
    (Server { name: "127.0.0.1".to_owned(), port, secret, timeout: Duration::from_millis(300), tries: 2 }, seen)
}

/// A client of a server that accepts `right` and rejects all else; how many requests came.
pub(crate) async fn judging(right: &'static str) -> (Client, Arc<std::sync::atomic::AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let seen = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let secret = Secret::new(SECRET.to_owned());
    tokio::spawn(async move {
        let mut buffer = vec![0; PACKET_MAX];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let request = packet::parse(&buffer[..length]).unwrap();
            let secret = Secret::new(SECRET.to_owned());
            let hidden = hide(&Secret::new(right.to_owned()), request.authenticator, &secret);
            let is_right = request.values(USER_PASSWORD).next() == Some(hidden.expose().as_slice());
            let code = if is_right { ACCESS_ACCEPT } else { ACCESS_REJECT };
            socket.send_to(&reply(&buffer[..length], code, &[], Reply::Honest), client).await.unwrap();
        }
    });
    let server = Server { name: "127.0.0.1".to_owned(), port, secret, timeout: Duration::from_secs(3), tries: 1 };
    (client(vec![server]), seen)
}

fn client(servers: Vec<Server>) -> Client {
    let settings =
        Settings { servers, nas_identifier: "GATE1".to_owned(), user_name: "{user-lower}@example.com".to_owned() };
    Client::new(settings, System::new())
}

/// A client of a server that replies honestly with these codes, one for each request, and the last one for all that follow;
/// with none it is silent.
pub(crate) async fn client_of(codes: &[u8]) -> (Client, Arc<std::sync::Mutex<Vec<Vec<u8>>>>) {
    let mut replies: Vec<_> = codes.iter().map(|code| (*code, Reply::Honest)).collect();
    if replies.is_empty() {
        replies.push((ACCESS_REJECT, Reply::Silence));
    }
    let (server, seen) = server(replies).await;
    (client(vec![Server { tries: 1, ..server }]), seen)
}

async fn ask(client: &Client) -> Outcome {
    let password = Secret::new("123456".to_owned());
    let source = Some("203.0.113.9".parse().unwrap());
    client.ask(Request { user: "anna", password: &password, source, state: None }).await
}

/// RFC 2865, section 7.1: user nemo, password arctangent, secret xyzzy5461.
#[test]
fn the_standard_s_example() {
    let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
    let authenticator: [u8; 16] = hex("0f403f9473978057bd83d5cb98f4227a").try_into().unwrap();
    let secret = Secret::new("xyzzy5461".to_owned());
    let hidden = hide(&Secret::new("arctangent".to_owned()), authenticator, &secret);
    assert_eq!(hidden.expose().as_slice(), hex("0dbe708d93d413ce3196e43f782a0aee"));
    // The reply of the example is right but has no Message-Authenticator: it must not count.
    let reply = hex("0200002686fe220e7624ba2a1005f6bf9b55e0b20606000000010f06000000000e06c0a80103");
    let parsed = packet::parse(&reply).unwrap();
    let mut bytes = reply.clone();
    bytes.splice(4..HEADER, authenticator);
    let expected = Md5::new().chain_update(&bytes).chain_update("xyzzy5461").finalize();
    assert_eq!(parsed.authenticator.as_slice(), expected.as_slice());
    assert!(!is_genuine(&reply, 0, authenticator, &secret));
}

#[test]
fn long_passwords_are_hidden_block_by_block() {
    let secret = Secret::new(SECRET.to_owned());
    for (length, hidden) in [(0, 16), (1, 16), (16, 16), (17, 32), (128, 128)] {
        let password = Secret::new("x".repeat(length));
        assert_eq!(hide(&password, [7; 16], &secret).expose().len(), hidden, "{length}");
    }
}

#[tokio::test]
async fn yes_is_yes_and_no_is_no() {
    let (accepting, seen) = server(vec![(ACCESS_ACCEPT, Reply::Honest)]).await;
    assert!(matches!(ask(&client(vec![accepting])).await, Outcome::Accept));
    let request = seen.lock().unwrap()[0].clone();
    let request = packet::parse(&request).unwrap();
    assert_eq!(request.attributes[0].kind, MESSAGE_AUTHENTICATOR);
    assert_eq!(request.values(NAS_IDENTIFIER).next(), Some(b"GATE1".as_slice()));
    assert_eq!(request.values(CALLING_STATION_ID).next(), Some(b"203.0.113.9".as_slice()));
    assert!(!request.bytes.windows(6).any(|window| window == b"123456"), "the password is hidden");
    let (rejecting, _) = server(vec![(ACCESS_REJECT, Reply::Honest)]).await;
    assert!(matches!(ask(&client(vec![rejecting])).await, Outcome::Reject));
    assert_eq!(client(vec![]).name("ANNA"), "anna@example.com");
}

/// The settings with the longest waits that the configuration takes.
#[tokio::test(start_paused = true)]
async fn all_tries_at_all_servers_together_have_their_time() {
    let (one, seen) = server(vec![(ACCESS_ACCEPT, Reply::Silence)]).await;
    let (two, _) = server(vec![(ACCESS_ACCEPT, Reply::Silence)]).await;
    let patient = |server: Server| Server { timeout: Duration::from_secs(60), tries: 5, ..server };
    let client = client(vec![patient(one), patient(two)]);
    let limit = config::Radius::ASK_MAX + Duration::from_secs(1);
    let answered = tokio::time::timeout(limit, ask(&client)).await.expect("an end in time");
    assert!(matches!(answered, Outcome::Unreachable));
    assert!(seen.lock().unwrap().len() <= 1);
}

#[tokio::test]
async fn forged_replies_are_no_replies() {
    for how in [
        Reply::WrongSecret,
        Reply::WrongResponseAuthenticator,
        Reply::WithoutMessageAuthenticator,
        Reply::WrongMessageAuthenticator,
        Reply::TwoMessageAuthenticators,
        Reply::WrongIdentifier,
        Reply::RequestCode,
        Reply::OtherSource,
        Reply::Short,
        Reply::Garbage,
        Reply::Silence,
    ] {
        let (forger, seen) = server(vec![(ACCESS_ACCEPT, how)]).await;
        assert!(matches!(ask(&client(vec![forger])).await, Outcome::Unreachable), "{how:?}");
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 2, "{how:?}: sent again");
        assert_eq!(seen[0], seen[1], "{how:?}: unchanged");
    }
}

#[tokio::test]
async fn a_forged_reply_does_not_keep_the_true_one_away() {
    let (both, _) = server(vec![(ACCESS_ACCEPT, Reply::WrongSecret), (ACCESS_REJECT, Reply::Honest)]).await;
    assert!(matches!(ask(&client(vec![both])).await, Outcome::Reject));
}

#[tokio::test]
async fn the_next_server_is_asked_where_one_is_silent() {
    let (silent, asked) = server(vec![(ACCESS_ACCEPT, Reply::Silence)]).await;
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let closed = Server { port: closed, ..silent.clone() };
    let (second, _) = server(vec![(ACCESS_ACCEPT, Reply::Honest)]).await;
    assert!(matches!(ask(&client(vec![silent, closed, second.clone()])).await, Outcome::Accept));
    assert_eq!(asked.lock().unwrap().len(), 2);
    // A no is an answer: nobody else is asked.
    let (rejecting, _) = server(vec![(ACCESS_REJECT, Reply::Honest)]).await;
    assert!(matches!(ask(&client(vec![rejecting, second])).await, Outcome::Reject));
}

#[test]
fn challenges_carry_state_and_a_text_fit_for_a_screen() {
    let password = Secret::new(String::new());
    let request = Request { user: "anna", password: &password, source: None, state: None };
    let secret = Secret::new(SECRET.to_owned());
    let server = Server { name: String::new(), port: 1, secret, timeout: Duration::ZERO, tries: 1 };
    let sent = write(&server, "GATE1", &request, 9, [1; 16]).unwrap();
    let text =
        [(STATE, b"st\0ate".as_slice()), (REPLY_MESSAGE, b"Enter\r\nthe \x1b[2Jcode "), (REPLY_MESSAGE, b"shown")];
    let replied = reply(&sent, ACCESS_CHALLENGE, &text, Reply::Honest);
    assert!(is_genuine(&replied, 9, [1; 16], &server.secret));
    let Outcome::Challenge { state, text } = outcome(&replied, 3) else { panic!("a challenge") };
    assert_eq!(text, "Enter the \\u{1b}[2Jcode shown");
    assert_eq!(state.server, 3);
    let request = Request { state: Some(&state), ..request };
    let sent = write(&server, "GATE1", &request, 9, [1; 16]).unwrap();
    assert_eq!(packet::parse(&sent).unwrap().values(STATE).next(), Some(b"st\0ate".as_slice()));
}
