//! Messages on their way: the gateway killed at random moments, and a mail server that nobody here wrote.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use policy::{Attempt, ContactKind, Secret, Settings};
use sallyport::audit::{Entry, Event, Outcome};
use sallyport::delivery::{Names, Post};
use sallyport::demo::mail;
use sallyport::key::Key;
use sallyport::store::{Challenge, Filter, NewChallenge, NewContact, Opened, State, Store};
use sallyport::system::System;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::{pause, root, skip};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sallyport");

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sallyport-delivery-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn configure(&self, smtp: &str) {
        let text = format!(
            "[gateway]\nnode = \"node1\"\nstore = \"store.db\"\nkey_file = \"key\"\ncontrol = \"control.sock\"\n\
             [smtp]\nhost = \"127.0.0.1\"\nfrom = \"Gate <gate@example.com>\"\n{smtp}\n\
             [[host]]\nname = \"PROD\"\naddress = \"127.0.0.1:1\"\n\
             [[listener]]\nname = \"x\"\naddress = \"127.0.0.1:0\"\nhost = \"PROD\"\n"
        );
        std::fs::write(self.0.join("sallyport.toml"), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).arg("--config").arg(self.0.join("sallyport.toml"));
        command
    }

    #[track_caller]
    fn prints(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts the gateway and waits until it is ready.
    fn serve(&self) -> Child {
        let log = std::fs::File::create(self.0.join("log")).unwrap();
        let mut child = self.command(&["serve"]).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.into_iter().any(|line| line == "ready"), "{}", self.log());
        child
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.0.join("log")).unwrap()
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How many passcodes are queued, and how often the gateway is killed at most.
const MESSAGES: usize = 150;
const KILLS: usize = 40;

#[test]
fn killed_gateways_send_no_passcode_twice_and_lose_none_silently() {
    let folder = Folder::new("killed");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mails_in, mut mails) = tokio::sync::mpsc::unbounded_channel();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime.spawn(mail::serve(listener, mails_in, CancellationToken::new()));
    folder.configure(&format!("port = {port}\ntls = \"none\""));
    let system = System::new();
    let store = runtime.block_on(queue(&folder, &system));
    let state = |number: usize| {
        let found = runtime.block_on(store.whereabouts(id(number))).unwrap();
        found.expect("nothing is lost").state
    };
    let ended =
        |state| matches!(state, State::Sent | State::Unknown | State::Failed | State::Expired | State::Cancelled);
    let mut kills = 0;
    while !(0..MESSAGES).all(|number| ended(state(number))) && kills < KILLS {
        let mut child = folder.serve();
        let mut random = [0];
        system.fill(&mut random).unwrap();
        pause(Duration::from_millis(u64::from(random[0])));
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    // The last one may go on to the end.
    let mut child = folder.serve();
    for _ in 0..300 {
        if (0..MESSAGES).all(|number| ended(state(number))) {
            break;
        }
        pause(Duration::from_millis(100));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
    while let Ok(mail) = mails.try_recv() {
        *arrived.entry(sallyport::demo::passcode(&mail).expect("a passcode")).or_default() += 1;
    }
    assert!(arrived.values().all(|count| *count == 1), "sent twice: {arrived:?}");
    let filter = Filter { event: Some(Event::PasscodeSent), ..Filter::default() };
    let audited = runtime.block_on(store.entries(filter, 10_000)).unwrap();
    let (mut sent, mut unknown) = (0, 0);
    for number in 0..MESSAGES {
        let came = arrived.contains_key(&code(number));
        match state(number) {
            State::Sent => {
                assert!(came, "{number} counts as sent and never came");
                sent += 1;
            }
            State::Unknown => {
                let told = audited.iter().any(|line| {
                    line.entry.challenge == Some(id(number)) && line.entry.reason.as_deref() == Some("delivery-unknown")
                });
                assert!(told, "{number} is lost and the audit does not know");
                unknown += 1;
            }
            other @ (State::Queued | State::Sending | State::Failed | State::Cancelled | State::Expired) => {
                panic!("{number} is {other:?}")
            }
        }
    }
    assert!(kills >= 2, "killed {kills} times");
    println!("killed {kills} times: {sent} sent, {unknown} unknown, {} arrived", arrived.len());
}

fn id(number: usize) -> String {
    format!("challenge{number}")
}

fn code(number: usize) -> String {
    format!("{:06}", number * 37)
}

/// A store with a user and open challenges, whose messages are queued.
async fn queue(folder: &Folder, system: &System) -> Store {
    let store = Store::open(&folder.path().join("store.db"), system.now()).await.unwrap();
    let key = Key::open(&folder.path().join("key"), system).unwrap();
    let names = Names { gateway: "GATE".into(), node: "test".into(), time_zone: jiff::tz::TimeZone::UTC };
    let post = Post::new(store.clone(), &key, names, system.clone(), Vec::new(), sallyport::notify::Waits::default());
    let entry = || Entry::new(system.now(), "test", Event::Changed, Outcome::Noted);
    let user: policy::User = "ANNA".parse().unwrap();
    store.add_user(user.clone(), false, String::new(), entry()).await.unwrap();
    let contact = NewContact::vouched(ContactKind::Email, "anna@example.com");
    store.add_contact(user.clone(), contact, entry(), Vec::new()).await.unwrap();
    let contact = store.user(user.clone()).await.unwrap().contacts.remove(0);
    let most = 100_000;
    let wide = Settings {
        send_per_user: most,
        send_per_day: most,
        send_per_pair: most,
        send_per_pair_day: most,
        send_per_source: most,
        send_per_contact: most,
        send_per_contact_day: most,
        ..Settings::default()
    };
    for number in 0..MESSAGES {
        let attempt = Attempt {
            user: Some(user.clone()),
            source: "203.0.113.9".parse().unwrap(),
            service: policy::Service::Telnet,
            host: "PROD".into(),
            at: system.now(),
            local: system.now().to_zoned(jiff::tz::TimeZone::UTC).datetime(),
            certificate: None,
            can_enrol: true,
        };
        let challenge = Challenge {
            id: id(number),
            destination: "a***@example.com".to_owned(),
            prefix: 'V',
            digits: 6,
            tries_left: 3,
            expires_at: attempt.at.checked_add(jiff::SignedDuration::from_secs(600)).unwrap(),
            factor: policy::Factor::Email,
            contact: None,
            own: None,
        };
        let parcel = post.passcode(&challenge, &contact, &Secret::new(code(number)), &attempt).await.unwrap();
        let new = NewChallenge {
            challenge,
            attempt,
            user: user.clone(),
            connection: format!("connection{number}"),
            parcel: Some(parcel),
            hash: Vec::new(),
            resend: false,
        };
        assert_eq!(store.open_challenge(new, wide.clone(), entry()).await.unwrap(), Opened::Open);
    }
    store
}

/// An SMTP server of others: STARTTLS and a login are needed.
const AIOSMTPD: &str = r#"
import asyncio, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult

folder = sys.argv[1]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(folder + "/certificate.pem", folder + "/certificate.key")

def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=data.login == b"gate" and data.password == b"pass word", handled=False)

class Handler:
    async def handle_DATA(self, server, session, envelope):
        with open(folder + "/mails", "ab") as out:
            out.write(b"TO " + " ".join(envelope.rcpt_tos).encode() + b"\n" + envelope.content + b"\n")
        return "250 OK"

async def main():
    make = lambda: SMTP(Handler(), tls_context=context, require_starttls=True, auth_required=True,
                        auth_require_tls=True, authenticator=authenticate)
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"#;

#[test]
fn a_mail_server_of_others_takes_messages_by_tls_and_login() {
    let python = root().join("target/mail-servers/python/bin/python");
    if !python.exists() {
        return skip("a_mail_server_of_others_takes_messages_by_tls_and_login", "aiosmtpd is not installed");
    }
    let folder = Folder::new("aiosmtpd");
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.path().join("certificate.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("certificate.key"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.path().join("server.py"), AIOSMTPD).unwrap();
    std::fs::write(folder.path().join("password"), "pass word\n").unwrap();
    let mut server = Command::new(python)
        .arg(folder.path().join("server.py"))
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(folder.path().join("server.log")).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim().to_owned();
    let login = "username = \"gate\"\nca_file = \"certificate.pem\"\ntimeout_seconds = 40";
    folder.configure(&format!("port = {port}\n{login}\npassword_file = \"password\""));
    folder.prints(&["user", "add", "ANNA", "--email", "anna@example.com", "--verified"]);
    let taken = folder.prints(&["contact", "test", "ANNA"]);
    let said = folder.prints(&["contact", "add", "ANNA", "second@example.com"]);
    let mails = std::fs::read_to_string(folder.path().join("mails")).unwrap_or_default();
    std::fs::write(folder.path().join("password"), "wrong\n").unwrap();
    let refused = folder.command(&["contact", "test", "ANNA"]).output().unwrap();
    // And when it is gone.
    server.kill().unwrap();
    server.wait().unwrap();
    let gone = folder.command(&["contact", "test", "ANNA"]).output().unwrap();
    assert!(taken.contains("took a test message for a***@example.com"), "{taken}");
    assert!(said.contains("A code was sent."), "{said}");
    assert!(mails.contains("TO anna@example.com\n") && mails.contains("TO second@example.com\n"), "{mails}");
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!refused.status.success() && said(&refused).contains("refused our login: reply 535"), "{}", said(&refused));
    assert!(!gone.status.success() && said(&gone).contains("did not take the message"), "{}", said(&gone));
    // The code that arrived confirms the contact.
    let code = mails.lines().find_map(|line| line.strip_prefix("    ")).expect("a code").trim().to_owned();
    assert!(folder.prints(&["contact", "verify", "ANNA", "2", &code]).contains("is confirmed"));
}
