//! FTP log-ons over a real store and a real mail relay, with a host that knows one password.
#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else comes fails the test")]

mod budget;
mod letter;
mod read;

use std::sync::atomic::{AtomicUsize, Ordering};

use policy::account::{Days, Hours, Schedule};
use policy::{Fingerprint, ServiceAccount, Way};

use super::*;

/// What the host knows as ANNA's.
const PASSWORD: &str = "geh:eim";

/// Where a log-on ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Logged on with this password.
    In(String),
    /// A passcode is asked for.
    Asked,
    /// Refused by the gateway.
    Refused,
    /// Refused by the gateway, since something does not work.
    Unavailable,
    /// Refused by the host.
    HostRefused,
}

fn entered() -> End {
    End::In(PASSWORD.to_owned())
}

fn secret(text: &str) -> Secret<Vec<u8>> {
    Secret::new(text.as_bytes().to_vec())
}

/// A world with a host, and what an FTP gate does.
struct Ftp {
    world: World,
    heard: AtomicUsize,
}

impl std::ops::Deref for Ftp {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Ftp {
    async fn new() -> Self {
        Self::with(Manner::Plain).await
    }

    async fn with(manner: Manner) -> Self {
        Self { world: World::with(manner).await, heard: AtomicUsize::new(0) }
    }

    /// A new connection.
    fn from(&self, source: &str) -> Peer {
        Peer { service: Service::Ftp, ..self.peer(source) }
    }

    /// A new connection from abroad.
    fn anew(&self) -> Peer {
        self.from("203.0.113.9:40000")
    }

    /// How often the host was asked about a password since the last call.
    fn heard(&self) -> usize {
        self.heard.swap(0, Ordering::Relaxed)
    }

    async fn ask(&self, peer: &Peer, user: Option<User>, password: &str) -> Verdict {
        self.guard.answer(peer, Question::Password { user, password: secret(password) }).await
    }

    /// What a gate does with a password of ANNA's.
    async fn give(&self, peer: &Peer, password: &str) -> End {
        self.give_of(peer, anna(), password).await
    }

    async fn give_of(&self, peer: &Peer, user: Option<User>, password: &str) -> End {
        self.give_to(&self.guard, peer, user, password).await
    }

    async fn give_to(&self, guard: &Guard, peer: &Peer, user: Option<User>, password: &str) -> End {
        let question = Question::Password { user: user.clone(), password: secret(password) };
        let verdict = match guard.answer(peer, question).await {
            Verdict::Check { password, answer } => {
                self.heard.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
                if password.expose() != PASSWORD.as_bytes() {
                    guard.record(peer, Report::HostRefused { user }).await;
                    return End::HostRefused;
                }
                assert_eq!(guard.record(peer, Report::HostAccepted { user: user.clone() }).await, None);
                let question = match answer {
                    Some(answer) => Question::Answer { user, answer },
                    None => Question::Accepted { user, password },
                };
                match guard.answer(peer, question).await {
                    Verdict::Admit => return entered(),
                    verdict => verdict,
                }
            }
            Verdict::Admit => {
                self.heard.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
                let right = password == PASSWORD;
                let report = if right { Report::HostAccepted { user } } else { Report::HostRefused { user } };
                guard.record(peer, report).await;
                return if right { entered() } else { End::HostRefused };
            }
            verdict => verdict,
        };
        match verdict {
            Verdict::AdmitWith { password } => {
                assert_eq!(guard.record(peer, Report::HostAccepted { user: anna() }).await, None);
                End::In(String::from_utf8(password.expose().clone()).unwrap())
            }
            Verdict::Challenge(_) => End::Asked,
            Verdict::Refuse { notice: Notice::Unavailable, close: true } => End::Unavailable,
            Verdict::Refuse { notice: Notice::Refused, close: false } => End::Refused,
            verdict => panic!("{verdict:?}"),
        }
    }

    /// What an account line after the prompt brings.
    async fn account(&self, peer: &Peer, passcode: &str) -> End {
        let answer = Answer::Passcode(Secret::new(passcode.to_owned()));
        match self.guard.answer(peer, Question::Answer { user: anna(), answer }).await {
            Verdict::Admit => entered(),
            Verdict::Refuse { notice: Notice::Refused, close: false } => End::Refused,
            verdict => panic!("{verdict:?}"),
        }
    }

    /// Has a passcode sent.
    async fn asked(&self) -> String {
        assert_eq!(self.give(&self.anew(), PASSWORD).await, End::Asked);
        self.relay.passcode().expose().clone()
    }

    async fn reasons(&self, event: Event) -> Vec<String> {
        self.entries(event).await.into_iter().map(|line| line.entry.reason.unwrap_or_default()).collect()
    }

    /// Another guard on the same store and key, as after a restart.
    async fn restarted(&self) -> Guard {
        let settings = SmtpSettings { timeout: Duration::from_secs(3), ..self.relay.settings() };
        start(&self.folder, &self.system, Some(Mailer::new(&settings).unwrap())).await.1
    }

    fn kept(&self) -> usize {
        self.guard.0.places.count()
    }
}

#[tokio::test]
async fn a_passcode_is_the_next_password() {
    let ftp = Ftp::new().await;
    let peer = ftp.anew();
    let Verdict::Check { password, answer: None } = ftp.ask(&peer, anna(), PASSWORD).await else { panic!() };
    assert_eq!(ftp.guard.record(&peer, Report::HostAccepted { user: anna() }).await, None);
    let shown = prompt(ftp.guard.answer(&peer, Question::Accepted { user: anna(), password }).await);
    let (destination, _, digits) = sent(&shown);
    assert_eq!((destination, digits), ("a***@example.com", 6));
    ftp.guard.connection_closed(&peer, "client closed").await;
    let code = ftp.relay.passcode().expose().clone();

    assert_eq!(ftp.give(&ftp.anew(), &code).await, entered());
    assert_eq!(ftp.heard(), 0, "the passcode never goes to the host");
    assert_eq!(ftp.reasons(Event::Passcode).await, ["passcode-right"]);
    // The window: the same passcode, and the same password.
    assert_eq!(ftp.give(&ftp.anew(), &code).await, entered());
    assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, entered());
    assert_eq!(ftp.heard(), 0);
    // Over to the second.
    ftp.system.pass(120);
    assert_eq!(ftp.give(&ftp.anew(), &code).await, End::Refused);
    assert_eq!(ftp.last_reason(Event::Passcode).await, "passcode-used");
    assert_eq!((ftp.heard(), ftp.relay.mails().len()), (0, 1));
    assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, End::Asked);
    assert_eq!((ftp.heard(), ftp.relay.mails().len()), (1, 2));

    // Neither password nor passcode is anywhere on disk or in the audit.
    let json = serde_json::to_string(&ftp.store.entries(Filter::default(), 1000).await.unwrap()).unwrap();
    assert!(!json.contains(PASSWORD) && !json.contains(&code), "{json}");
    for name in ["store.db", "store.db-wal"] {
        let bytes = fs::read(ftp.folder.path(name)).unwrap();
        for secret in [PASSWORD, &code] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{name}");
        }
    }
}

#[tokio::test]
async fn what_was_held_is_gone_with_its_challenge() {
    let ftp = Ftp::new().await;
    let code = ftp.asked().await;
    assert_eq!(ftp.kept(), 1);
    ftp.system.pass(300);
    assert_eq!(ftp.give(&ftp.anew(), &code).await, End::Refused);
    assert_eq!(ftp.last_reason(Event::Passcode).await, "passcode-expired");
    assert_eq!((ftp.heard(), ftp.kept()), (1, 0));

    // Without a window, it goes with the passcode.
    ftp.set("ftp.window", "0").await;
    let code = ftp.asked().await;
    assert_eq!(ftp.give(&ftp.anew(), &code).await, entered());
    assert_eq!(ftp.give(&ftp.anew(), &code).await, End::Refused);
    ftp.system.pass(60);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(ftp.kept(), 0);
}

/// Whoever has the telephone that was lost, or the mailbox, must not go on as long as a window is open.
#[tokio::test]
async fn a_window_ends_with_what_opened_it() {
    for gone in 0..2 {
        let ftp = Ftp::new().await;
        let spare = ftp.give_contact("ANNA", "anna@example.net").await;
        let code = ftp.asked().await;
        for key in [code.as_str(), PASSWORD] {
            assert_eq!(ftp.give(&ftp.anew(), key).await, entered());
        }
        let owner = anna().unwrap();
        if gone == 0 {
            let opened_it = ftp.store.user(owner.clone()).await.unwrap().contacts;
            let opened_it = opened_it.iter().find(|contact| contact.id != spare).unwrap().id;
            ftp.store.remove_contact(owner, opened_it, ftp.change(), Vec::new()).await.unwrap();
        } else {
            ftp.give_app("ANNA").await;
            let allowed = policy::Factors::only(policy::Factor::Totp);
            ftp.store.set_user_factors(owner, allowed, ftp.change()).await.unwrap();
        }
        assert_eq!(ftp.give(&ftp.anew(), &code).await, End::Refused, "{gone}");
        assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, End::Asked, "{gone}");
    }
}

#[tokio::test]
async fn a_window_has_a_limit_of_uses() {
    let ftp = Ftp::new().await;
    ftp.set("ftp.window-uses", "2").await;
    let code = ftp.asked().await;
    for _ in 0..3 {
        assert_eq!(ftp.give(&ftp.anew(), &code).await, entered());
    }
    assert_eq!(ftp.give(&ftp.anew(), &code).await, End::Refused);
    assert_eq!(ftp.reasons(Event::Passcode).await, ["passcode-right", "ftp-window", "ftp-window", "passcode-used"]);
    assert!(ftp.guard.0.places.turn(&Place::new(&ftp.anew(), &anna().unwrap())).await.unwrap().kept.is_none());
}

#[tokio::test]
async fn a_passcode_is_bound_to_user_source_host_and_service() {
    let ftp = Ftp::new().await;
    ftp.set("ftp.host-checks", "24").await;
    let code = ftp.asked().await;
    for peer in [ftp.from("203.0.113.10:1"), Peer { host: "TEST".into(), ..ftp.anew() }] {
        assert_eq!(ftp.give(&peer, &code).await, End::HostRefused);
        assert_eq!(ftp.give(&peer, &format!("{PASSWORD}:{code}")).await, End::HostRefused, "one password, as a whole");
    }
    assert_eq!(ftp.give_of(&ftp.anew(), user("BERT"), &code).await, End::Refused);
    refused(ftp.key(&ftp.abroad(), &Secret::new(code.clone())).await, Notice::Refused);
    // A challenge of its own there does not help.
    let other = ftp.from("203.0.113.11:1");
    assert_eq!(ftp.give(&other, PASSWORD).await, End::Asked);
    assert_eq!(ftp.give(&other, &code).await, End::Refused);
    // IPv4 in IPv6 form is the same source.
    assert_eq!(ftp.give(&ftp.from("[::ffff:203.0.113.9]:7"), &code).await, entered());
}

#[tokio::test]
async fn wrong_passcodes_end_the_challenge_and_never_reach_the_host() {
    let ftp = Ftp::new().await;
    let code = ftp.asked().await;
    ftp.heard();
    let bad = wrong(&Secret::new(code.clone())).expose().clone();
    for _ in 0..3 {
        assert_eq!(ftp.give(&ftp.anew(), &bad).await, End::Refused);
    }
    assert_eq!(ftp.give(&ftp.anew(), &code).await, End::Refused, "right, but too late");
    assert_eq!(ftp.last_reason(Event::SignOn).await, "user-locked-from-source");
    ftp.system.pass(10);
    assert_eq!(ftp.give(&ftp.anew(), &code).await, End::Refused);
    assert_eq!(ftp.last_reason(Event::Passcode).await, "passcode-ended");
    // One passcode, and one alert: the password was right.
    ftp.relay.wait_for(2).await;
    assert_eq!((ftp.heard(), ftp.relay.mails().len()), (0, 2));
}

#[tokio::test]
async fn guesses_in_a_window_count() {
    let ftp = Ftp::new().await;
    let code = ftp.asked().await;
    assert_eq!(ftp.give(&ftp.anew(), &code).await, entered());
    ftp.heard();
    let bad = wrong(&Secret::new(code.clone())).expose().clone();
    for _ in 0..3 {
        assert_eq!(ftp.give(&ftp.anew(), &bad).await, End::Refused);
    }
    ftp.system.pass(10);
    assert_eq!(ftp.give(&ftp.anew(), &code).await, End::Refused, "the window is closed");
    assert_eq!(ftp.heard(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_connections_with_one_password_are_one_log_on() {
    let ftp = Ftp::new().await;
    let peers = [ftp.anew(), ftp.anew(), ftp.anew()];
    let [one, two, three] = &peers;
    let ends = tokio::join!(ftp.give(one, PASSWORD), ftp.give(two, PASSWORD), ftp.give(three, PASSWORD));
    assert_eq!(ends, (End::Asked, End::Asked, End::Asked));
    assert_eq!((ftp.heard(), ftp.relay.mails().len()), (1, 1), "one check, one mail");

    let code = ftp.relay.passcode().expose().clone();
    let ends = tokio::join!(ftp.give(one, &code), ftp.give(two, &code), ftp.give(three, &code));
    assert_eq!(ends, (entered(), entered(), entered()));
    assert_eq!(ftp.heard(), 0);
    assert_eq!(ftp.reasons(Event::Passcode).await, ["passcode-right", "ftp-window", "ftp-window"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_connections_with_a_wrong_password_reach_the_host_once() {
    let ftp = Ftp::new().await;
    let peers: Vec<Peer> = (0..8).map(|_| ftp.anew()).collect();
    let [a, b, c, d, e, f, g, h] = &peers[..] else { panic!() };
    let ends = tokio::join!(
        ftp.give(a, "stale"),
        ftp.give(b, "stale"),
        ftp.give(c, "stale"),
        ftp.give(d, "stale"),
        ftp.give(e, "stale"),
        ftp.give(f, "stale"),
        ftp.give(g, "stale"),
        ftp.give(h, "stale")
    );
    let ends = [ends.0, ends.1, ends.2, ends.3, ends.4, ends.5, ends.6, ends.7];
    let refused = ends.iter().filter(|end| **end == End::Refused).count();
    assert_eq!((ends.iter().filter(|end| **end == End::HostRefused).count(), refused), (1, 7));
    assert_eq!(ftp.heard(), 1);
    assert_eq!(ftp.last_reason(Event::SignOn).await, "host-refused-lately");
}

#[tokio::test]
async fn password_and_passcode_in_one_line() {
    let ftp = Ftp::new().await;
    // Nothing is asked for: the whole is a password.
    assert_eq!(ftp.give(&ftp.anew(), &format!("{PASSWORD}:123456")).await, End::HostRefused);
    let code = ftp.asked().await;
    ftp.heard();
    let line = format!("{PASSWORD}:{code}");
    // A wrong password costs no try.
    assert_eq!(ftp.give(&ftp.anew(), &format!("wrong:{code}")).await, End::HostRefused);
    assert_eq!(ftp.heard(), 1);
    let peers = [ftp.anew(), ftp.anew(), ftp.anew()];
    let [one, two, three] = &peers;
    let ends = tokio::join!(ftp.give(one, &line), ftp.give(two, &line), ftp.give(three, &line));
    assert_eq!(ends, (entered(), entered(), entered()));
    assert_eq!(ftp.heard(), 0, "the host has accepted this password already");
    ftp.system.pass(120);
    assert_eq!(ftp.give(&ftp.anew(), &line).await, End::Refused);
    assert_eq!((ftp.heard(), ftp.last_reason(Event::Passcode).await.as_str()), (0, "passcode-used"));
}

#[tokio::test]
async fn a_client_that_is_waited_for_no_longer_may_come_back() {
    let ftp = Ftp::new().await;
    let peer = ftp.anew();
    assert_eq!(ftp.give(&peer, PASSWORD).await, End::Asked);
    assert_eq!(ftp.guard.record(&peer, Report::Cancelled { user: anna() }).await, None);
    let told = ftp.entries(Event::Cancelled).await.last().unwrap().entry.detail.clone().unwrap();
    assert!(told.contains("still counts"), "{told}");
    let code = ftp.relay.passcode();
    assert_eq!(ftp.give(&ftp.anew(), code.expose()).await, entered());
}

#[tokio::test]
async fn a_restart_loses_the_held_password_only() {
    let ftp = Ftp::new().await;
    let code = ftp.asked().await;
    ftp.heard();
    let other = ftp.restarted().await;
    let give = |password: String| {
        let (ftp, other, peer) = (&ftp, &other, ftp.anew());
        async move { ftp.give_to(other, &peer, anna(), &password).await }
    };
    assert_eq!(give(code.clone()).await, End::Refused);
    assert_eq!((ftp.heard(), ftp.last_reason(Event::Passcode).await.as_str()), (0, "no-password-held"));
    // The user starts again; the passcode still counts.
    assert_eq!(give(PASSWORD.to_owned()).await, End::Asked);
    assert_eq!((ftp.heard(), ftp.relay.mails().len()), (1, 1));
    assert_eq!(give(code.clone()).await, entered());

    // In one line it needs no held password at all, and the host judges first.
    ftp.system.pass(120);
    assert_eq!(give(PASSWORD.to_owned()).await, End::Asked);
    let code = ftp.relay.passcode().expose().clone();
    let other = ftp.restarted().await;
    ftp.heard();
    assert_eq!(ftp.give_to(&other, &ftp.anew(), anna(), &format!("{PASSWORD}:{code}")).await, entered());
    assert_eq!(ftp.heard(), 1);
    assert_eq!(ftp.give_to(&other, &ftp.anew(), anna(), &code).await, entered(), "in its window");
    // And a window does not outlive the process.
    let third = ftp.restarted().await;
    assert_eq!(ftp.give_to(&third, &ftp.anew(), anna(), &code).await, End::Refused);
}

#[tokio::test]
async fn an_account_line_answers_on_the_same_connection() {
    let ftp = Ftp::new().await;
    let peer = ftp.anew();
    assert_eq!(ftp.account(&peer, "123456").await, End::Refused);
    assert_eq!(ftp.last_reason(Event::Passcode).await, "no-challenge");
    assert_eq!(ftp.give(&peer, PASSWORD).await, End::Asked);
    let code = ftp.relay.passcode();
    for empty in ["", "default", "12345"] {
        assert_eq!(ftp.account(&peer, empty).await, End::Refused);
        assert_eq!(ftp.last_reason(Event::Passcode).await, "passcode-malformed");
    }
    assert_eq!(ftp.account(&peer, wrong(&code).expose()).await, End::Refused);
    assert_eq!(ftp.account(&peer, code.expose()).await, entered());
    // The next connection of the same client.
    let next = ftp.anew();
    assert_eq!(ftp.give(&next, PASSWORD).await, entered());
    assert_eq!(ftp.account(&ftp.anew(), code.expose()).await, entered());
    assert_eq!(ftp.account(&ftp.anew(), wrong(&code).expose()).await, End::Refused);
    ftp.system.pass(120);
    assert_eq!(ftp.account(&ftp.anew(), code.expose()).await, End::Refused);
}

#[tokio::test]
async fn a_user_may_have_a_way_of_their_own() {
    let ftp = Ftp::new().await;
    let way = |peer: Peer| {
        let ftp = &ftp;
        async move {
            match ftp.ask(&peer, anna(), PASSWORD).await {
                Verdict::Check { password, .. } => {
                    let question = Question::Accepted { user: anna(), password };
                    prompt(ftp.guard.answer(&peer, question).await).way
                }
                again => prompt(again).way,
            }
        }
    };
    assert_eq!(way(ftp.anew()).await, None);
    for own in [Some(Way::Account), Some(Way::Reject), None] {
        ftp.store.set_user_way(anna().unwrap(), own, ftp.change()).await.unwrap();
        assert_eq!(way(ftp.anew()).await, own);
        assert_eq!(ftp.store.user(anna().unwrap()).await.unwrap().way, own);
    }
    let nobody = user("NOBODY").unwrap();
    assert!(matches!(ftp.store.set_user_way(nobody, None, ftp.change()).await, Err(store::Error::Missing(_))));
}

#[tokio::test]
async fn refused_at_a_terminal_counts_as_well() {
    let ftp = Ftp::new().await;
    for _ in 0..2 {
        ftp.guard.record(&ftp.abroad(), Report::HostRefused { user: anna() }).await;
    }
    assert_eq!(ftp.give(&ftp.from("198.51.100.1:1"), PASSWORD).await, End::Refused);
    assert_eq!((ftp.heard(), ftp.last_reason(Event::SignOn).await.as_str()), (0, "host-check-budget"));
    ftp.guard.record(&ftp.abroad(), Report::HostAccepted { user: anna() }).await;
    assert_eq!(ftp.give(&ftp.from("198.51.100.1:1"), PASSWORD).await, End::Asked);
}

/// A day, after which there is another check.
const DAY: i64 = 24 * 60 * 60;

#[tokio::test]
async fn guesses_in_a_row_do_not_disable_a_profile() {
    let ftp = Ftp::new().await;
    ftp.set("lockout.delay-after", "100").await;
    for number in 0..6 {
        let peer = ftp.from(&format!("198.51.100.{number}:1"));
        let expected = if number < 2 { End::HostRefused } else { End::Refused };
        assert_eq!(ftp.give(&peer, &format!("guess{number}")).await, expected);
        ftp.system.pass(310);
    }
    assert_eq!((ftp.heard(), ftp.last_reason(Event::SignOn).await.as_str()), (2, "host-check-budget"));
    // One more after a day, and then one a day.
    ftp.guard.sweep().await.unwrap();
    for _ in 0..3 {
        ftp.system.pass(DAY);
        assert_eq!(ftp.give(&ftp.from("198.51.100.9:1"), "guess").await, End::HostRefused);
        assert_eq!(ftp.give(&ftp.from("198.51.100.8:1"), PASSWORD).await, End::Refused);
        ftp.guard.sweep().await.unwrap();
    }
    // Or none at all.
    ftp.set("ftp.host-checks-window", "0").await;
    ftp.system.pass(30 * DAY);
    ftp.guard.sweep().await.unwrap();
    assert_eq!(ftp.give(&ftp.from("198.51.100.9:1"), PASSWORD).await, End::Refused);
    ftp.store.unlock_user(anna().unwrap(), ftp.change()).await.unwrap();
    assert_eq!(ftp.give(&ftp.from("198.51.100.9:1"), PASSWORD).await, End::Asked);
}

#[tokio::test]
async fn exempt_networks_are_counted_apart_and_together() {
    let ftp = Ftp::new().await;
    let block = "10.0.0.0/8".parse().unwrap();
    ftp.store.add_network(policy::Network::new(0, Service::Ftp, block, Treatment::Exempt), ftp.change()).await.unwrap();
    assert_eq!(ftp.give(&ftp.from("10.0.0.1:1"), "typo").await, End::HostRefused);
    assert_eq!(ftp.give(&ftp.from("10.0.0.2:1"), "typos").await, End::HostRefused);
    assert_eq!(ftp.give(&ftp.from("10.0.0.3:1"), "tipos").await, End::Refused);
    ftp.store.unlock_user(anna().unwrap(), ftp.change()).await.unwrap();
    for number in 0..2 {
        let peer = ftp.from(&format!("198.51.100.{number}:1"));
        assert_eq!(ftp.give(&peer, &format!("guess{number}")).await, End::HostRefused);
    }
    assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, End::Refused);
    assert_eq!(ftp.give(&ftp.from("10.0.0.2:1"), PASSWORD).await, entered());
    // The host accepted, and has forgotten.
    assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, End::Asked);
}

#[tokio::test]
async fn observing_does_not_lift_the_budget_of_a_profile() {
    let ftp = Ftp::new().await;
    ftp.set("enforcement", "observe").await;
    for at in 0..10 {
        let _ = ftp.give(&ftp.from(&format!("198.51.100.{at}:4000")), "wrong").await;
    }
    assert_eq!(ftp.heard(), 2);
}

#[tokio::test]
async fn what_the_host_may_have_refused_stays_counted() {
    let ftp = Ftp::new().await;
    ftp.set("lockout.delay-after", "100").await;
    let mut heard = 0;
    for at in 0..20 {
        let peer = ftp.from("198.51.100.1:4000");
        if let Verdict::Check { .. } = ftp.ask(&peer, anna(), &format!("guess {at}")).await {
            heard += 1;
            // The password was sent, and then nobody waited for the host's word, or it gave none.
            ftp.guard.record(&peer, Report::Abandoned { user: anna() }).await;
        }
        ftp.guard.connection_closed(&peer, "x").await;
    }
    assert_eq!(heard, 2);
    // Nor does one come back whose connection just ended.
    ftp.store.unlock_user(anna().unwrap(), ftp.change()).await.unwrap();
    for _ in 0..2 {
        let peer = ftp.from("198.51.100.2:4000");
        assert!(matches!(ftp.ask(&peer, anna(), "guess").await, Verdict::Check { .. }));
        ftp.guard.connection_closed(&peer, "x").await;
    }
    assert_eq!(ftp.give(&ftp.from("198.51.100.3:1"), PASSWORD).await, End::Refused);
}

#[tokio::test]
async fn a_mistyped_passcode_behind_the_password_is_not_a_password_for_the_host() {
    let ftp = Ftp::new().await;
    let code = ftp.asked().await;
    assert_eq!(ftp.give(&ftp.anew(), &code).await, entered());
    ftp.heard();
    let bad = wrong(&Secret::new(code.clone())).expose().clone();
    assert_eq!(ftp.give(&ftp.anew(), &format!("{PASSWORD}:{bad}")).await, End::Refused);
    assert_eq!((ftp.heard(), ftp.last_reason(Event::Passcode).await.as_str()), (0, "passcode-wrong"));
    assert_eq!(ftp.give(&ftp.anew(), &code).await, entered());
}

#[tokio::test]
async fn a_host_that_cannot_be_asked_uses_up_no_budget() {
    let ftp = Ftp::new().await;
    for _ in 0..5 {
        let peer = ftp.anew();
        assert!(matches!(ftp.ask(&peer, anna(), PASSWORD).await, Verdict::Check { .. }));
        let what = "no connection";
        assert_eq!(ftp.guard.record(&peer, Report::HostUnavailable { user: anna(), what }).await, None);
    }
    assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, End::Asked);
}

#[tokio::test]
async fn a_connection_that_ends_lets_the_next_one_go_on() {
    let ftp = Ftp::new().await;
    let first = ftp.anew();
    assert!(matches!(ftp.ask(&first, anna(), PASSWORD).await, Verdict::Check { .. }));
    let next = ftp.anew();
    let (end, ()) = tokio::join!(ftp.give(&next, PASSWORD), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(ftp.heard(), 0, "it waits");
        ftp.guard.connection_closed(&first, "client closed").await;
    });
    assert_eq!(end, End::Asked);
}

#[tokio::test]
async fn a_password_that_the_host_no_longer_takes_is_forgotten() {
    let ftp = Ftp::new().await;
    let code = ftp.asked().await;
    let peer = ftp.anew();
    assert_eq!(ftp.give(&peer, &code).await, entered());
    ftp.guard.record(&peer, Report::HostRefused { user: anna() }).await;
    assert_eq!(ftp.give(&ftp.anew(), &code).await, End::Refused);
    assert_eq!(ftp.last_reason(Event::Passcode).await, "passcode-used");
}

#[tokio::test]
async fn no_mail_no_log_on() {
    for manner in [Manner::Refusing("550 no"), Manner::Silent] {
        let ftp = Ftp::with(manner).await;
        assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, End::Unavailable);
        assert_eq!(ftp.give(&ftp.anew(), "123456").await, End::HostRefused);
        let turn = ftp.guard.0.places.turn(&Place::new(&ftp.anew(), &anna().unwrap())).await.unwrap();
        assert!(turn.kept.is_none());
    }
}

#[tokio::test]
async fn a_store_that_fails_refuses() {
    let ftp = Ftp::new().await;
    let code = ftp.asked().await;
    let other = rusqlite::Connection::open(ftp.folder.path("store.db")).unwrap();
    other.execute_batch("ALTER TABLE audit RENAME TO gone").unwrap();
    assert_eq!(ftp.give(&ftp.anew(), &code).await, End::Unavailable);
    assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, End::Unavailable);
    other.execute_batch("ALTER TABLE gone RENAME TO audit").unwrap();
    assert_eq!(ftp.give(&ftp.anew(), &code).await, entered());
    other.execute_batch("ALTER TABLE audit RENAME TO gone").unwrap();
    assert_eq!(ftp.give(&ftp.anew(), &code).await, End::Unavailable, "in its window");
}

#[tokio::test]
async fn of_whoever_is_refused_the_host_hears_nothing() {
    let ftp = Ftp::new().await;
    let code = ftp.asked().await;
    ftp.heard();
    ftp.store.add_user(user("CARL").unwrap(), false, String::new(), ftp.change()).await.unwrap();
    ftp.store.set_user_enabled(user("CARL").unwrap(), false, ftp.change()).await.unwrap();
    ftp.set("ftp.refusal-time", "400").await;
    assert_eq!(ftp.guard.refusal_time().await, Duration::from_millis(400));
    let bad = wrong(&Secret::new(code)).expose().clone();
    for (name, password) in [
        (None, PASSWORD),
        (user("NOBODY"), PASSWORD),
        (user("BERT"), PASSWORD),
        (user("CARL"), PASSWORD),
        (anna(), &bad),
        (anna(), &bad),
        (anna(), &bad),
        (anna(), PASSWORD),
    ] {
        assert_eq!(ftp.give_of(&ftp.anew(), name.clone(), password).await, End::Refused, "{name:?}");
    }
    assert_eq!(ftp.heard(), 0);
    assert_eq!(ftp.last_reason(Event::SignOn).await, "user-locked-from-source");
}

#[tokio::test]
async fn a_disabled_user_s_password_is_wiped() {
    let ftp = Ftp::new().await;
    let code = ftp.asked().await;
    ftp.store.set_user_enabled(anna().unwrap(), false, ftp.change()).await.unwrap();
    assert_eq!(ftp.give(&ftp.anew(), &code).await, End::Refused);
    ftp.store.set_user_enabled(anna().unwrap(), true, ftp.change()).await.unwrap();
    assert_eq!(ftp.give(&ftp.anew(), &code).await, End::Refused);
    assert_eq!(ftp.last_reason(Event::Passcode).await, "passcode-ended");
}

#[tokio::test]
async fn who_needs_no_passcode_is_let_in() {
    let ftp = Ftp::new().await;
    let block = "10.0.0.0/8".parse().unwrap();
    ftp.store.add_network(policy::Network::new(0, Service::Ftp, block, Treatment::Exempt), ftp.change()).await.unwrap();
    let safe = || ftp.from("10.1.1.1:1");
    assert_eq!(ftp.give_of(&safe(), None, PASSWORD).await, End::Refused, "nobody is named");
    ftp.set("unnamed", "exempt").await;
    assert_eq!(ftp.give_of(&safe(), None, PASSWORD).await, entered());
    assert_eq!(ftp.give(&safe(), PASSWORD).await, entered());
    let peers = [safe(), safe(), safe(), safe()];
    let [one, two, three, four] = &peers;
    let ends = tokio::join!(
        ftp.give(one, PASSWORD),
        ftp.give(two, PASSWORD),
        ftp.give(three, PASSWORD),
        ftp.give(four, PASSWORD)
    );
    assert_eq!(ends, (entered(), entered(), entered(), entered()));
    assert_eq!(ftp.reasons(Event::SignOn).await[1..], ["network-exempt"; 6]);
    ftp.heard();
    let ends = tokio::join!(ftp.give(one, "stale"), ftp.give(two, "stale"), ftp.give(three, "stale"));
    assert_eq!((ends, ftp.heard()), ((End::HostRefused, End::Refused, End::Refused), 1));
    ftp.store.unlock_user(anna().unwrap(), ftp.change()).await.unwrap();
    ftp.set("enforcement", "observe").await;
    assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, entered());
    assert_eq!(ftp.entries(Event::SignOn).await.last().unwrap().entry.outcome, Outcome::Observed);
    assert!(ftp.relay.mails().is_empty());
}

#[tokio::test]
async fn whoever_is_not_named_has_a_budget_by_source() {
    let ftp = Ftp::new().await;
    let block = "10.0.0.0/8".parse().unwrap();
    ftp.store.add_network(policy::Network::new(0, Service::Ftp, block, Treatment::Exempt), ftp.change()).await.unwrap();
    ftp.set("unnamed", "exempt").await;
    let give = |source: &'static str, password: &'static str| {
        let ftp = &ftp;
        async move { ftp.give_of(&ftp.from(source), None, password).await }
    };
    for _ in 0..3 {
        assert_eq!(give("10.1.1.1:1", PASSWORD).await, entered(), "what the host accepts costs nothing");
    }
    for password in ["a", "b"] {
        assert_eq!(give("10.1.1.1:1", password).await, End::HostRefused);
    }
    ftp.heard();
    assert_eq!(give("10.1.1.1:1", "c").await, End::Refused);
    assert_eq!((ftp.heard(), ftp.last_reason(Event::SignOn).await.as_str()), (0, "host-check-budget"));
    assert_eq!(give("10.1.1.2:1", PASSWORD).await, entered());
    ftp.system.pass(DAY);
    assert_eq!(give("10.1.1.1:1", PASSWORD).await, entered());
}

#[tokio::test]
async fn service_accounts_are_let_in_with_a_reason_of_their_own() {
    let ftp = Ftp::new().await;
    let print = Fingerprint::new([9; 32]);
    let account = ServiceAccount {
        id: 0,
        user: user("NIGHTJOB").unwrap(),
        service: Service::Ftp,
        block: "203.0.113.9".parse().unwrap(),
        schedule: Schedule { days: Days::ALL, hours: Hours::ALL },
        certificate: Some(print),
        comment: String::new(),
    };
    let id = ftp.store.add_account(account.clone(), ftp.change()).await.unwrap();
    assert!(matches!(ftp.store.add_account(account, ftp.change()).await, Err(store::Error::Exists(_))));
    let give = |certificate: Option<Fingerprint>| {
        let peer = ftp.anew();
        if let Some(certificate) = certificate {
            peer.certificate.set(certificate).unwrap();
        }
        let ftp = &ftp;
        async move { ftp.give_of(&peer, user("NIGHTJOB"), PASSWORD).await }
    };
    assert_eq!(give(None).await, End::Refused);
    assert_eq!(give(Some(Fingerprint::new([8; 32]))).await, End::Refused);
    assert_eq!(give(Some(print)).await, entered());
    let entry = ftp.entries(Event::SignOn).await.last().unwrap().entry.clone();
    assert_eq!((entry.outcome, entry.reason.as_deref()), (Outcome::Allowed, Some("service-account")));
    assert_eq!(entry.detail, Some(format!("service account rule {id}")));
    ftp.store.remove_account(id, ftp.change()).await.unwrap();
    assert_eq!(give(Some(print)).await, End::Refused);
}

#[tokio::test]
async fn a_repeat_window_takes_the_password_alone() {
    let ftp = Ftp::new().await;
    for (name, value) in [("ftp.window", "0"), ("ftp.repeat-minutes", "60"), ("ftp.repeat-uses", "2")] {
        ftp.set(name, value).await;
    }
    let code = ftp.asked().await;
    assert_eq!(ftp.give(&ftp.anew(), &code).await, entered());
    for _ in 0..2 {
        assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, entered());
        assert_eq!(ftp.last_reason(Event::SignOn).await, "repeat-window");
        assert_eq!(ftp.give(&ftp.anew(), "wrong").await, End::HostRefused, "costs no use");
    }
    assert_eq!(ftp.give(&ftp.anew(), &code).await, End::Refused, "the passcode is used up all the same");
    assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, End::Asked);
    assert_eq!(ftp.give(&ftp.from("203.0.113.10:1"), PASSWORD).await, End::Asked, "not from elsewhere");
}

#[tokio::test]
async fn questions_that_have_no_place_in_a_service_are_refused() {
    let ftp = Ftp::new().await;
    for service in [Service::Ftp, Service::Telnet] {
        let peer = Peer { service, ..ftp.anew() };
        let ask = |question| ftp.guard.answer(&peer, question);
        let resend = Question::Answer { user: anna(), answer: Answer::Resend };
        let odd = match service {
            Service::Ftp => [Question::SignOn { user: anna(), accepted: true }, resend],
            Service::Telnet => [
                Question::Password { user: anna(), password: secret(PASSWORD) },
                Question::Accepted { user: anna(), password: secret(PASSWORD) },
            ],
        };
        for question in odd {
            refused(ask(question).await, Notice::Unavailable);
        }
    }
}
