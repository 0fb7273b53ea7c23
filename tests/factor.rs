//! Factors and keys as an administrator uses them, with a real RADIUS server where one is installed.

use std::fmt::Write as _;
use std::io::Write;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use policy::Secret;
use sallyport::factor::{hotp, totp};
use sallyport::system::System;
use serde_json::Value;

use crate::support::{pause, program, skip};

const CONFIG: &str = r#"
[gateway]
name = "GATE1"
node = "gate-1"
time_zone = "UTC"
store = "store.db"
key_file = "key"
[smtp]
host = "127.0.0.1"
port = 1
tls = "none"
from = "Sallyport <gateway@example.com>"
[[host]]
name = "PROD"
address = "127.0.0.1:1"
[[listener]]
name = "telnet"
address = "127.0.0.1:0"
host = "PROD"
"#;

pub(crate) const RADIUS_SECRET: &str = "a secret of 24 letters..";
/// 20 bytes, `12345678901234567890`.
const SEED: &str = "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ\n";

struct Desk(PathBuf);

impl Desk {
    fn new(name: &str, more: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sallyport-factor-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("sallyport.toml"), format!("{CONFIG}{more}")).unwrap();
        std::fs::write(folder.join("seed"), SEED).unwrap();
        let desk = Self(folder);
        desk.prints("user add ANNA", "");
        desk.prints("user add BERT", "");
        desk
    }

    fn run(&self, line: &str, input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sallyport"))
            .current_dir(&self.0)
            .env_remove("SALLYPORT_CONFIG")
            .env_remove("SALLYPORT_LOG")
            .args(line.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that reads nothing has closed it already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// What `line` prints; it must succeed.
    #[track_caller]
    fn prints(&self, line: &str, input: &str) -> String {
        let output = self.run(line, input);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.prints(&format!("{line} --json"), "")).unwrap()
    }

    /// `line` must end with `code` and say `expected`.
    #[track_caller]
    fn fails(&self, line: &str, input: &str, code: i32, expected: &str) {
        let output = self.run(line, input);
        let said = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        assert!(said.contains(expected), "{line}: {said}");
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    /// Whether any file of the store holds `bytes`.
    fn holds(&self, bytes: &[u8]) -> bool {
        ["store.db", "store.db-wal"].iter().any(|name| {
            let file = std::fs::read(self.0.join(name)).unwrap_or_default();
            file.windows(bytes.len()).any(|window| window == bytes)
        })
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The code of a secret in base32, `ahead` half minutes from now.
fn code(secret: &str, ahead: i64) -> String {
    let secret = totp::read(&Secret::new(secret.to_owned())).unwrap();
    let step = u64::try_from(System::new().now().as_second() / 30 + ahead).unwrap();
    let codes = hotp::Codes { algorithm: hotp::Algorithm::Sha1, digits: 6, secret: secret.expose() };
    codes.code(step).expose().clone()
}

#[test]
fn an_app_is_added_confirmed_and_used() {
    let desk = Desk::new("app", "");
    let added = desk.json("factor add totp ANNA --label phone");
    let (secret, uri) = (added["secret"].as_str().unwrap(), added["uri"].as_str().unwrap());
    assert_eq!((&added["kind"], &added["counts"], &added["number"]), (&"totp".into(), &false.into(), &1.into()));
    assert!(uri.starts_with("otpauth://totp/GATE1:ANNA?secret=") && uri.contains(&secret.replace(' ', "")), "{uri}");
    assert!(!desk.holds(totp::read(&Secret::new(secret.to_owned())).unwrap().expose()), "the secret is sealed");
    desk.fails("factor test ANNA 1", &code(secret, 0), 1, "not confirmed");
    desk.fails("factor confirm ANNA 1 000000", "", 1, "does not fit");
    desk.fails("factor confirm BERT 1 000000", "", 3, "no factor 1 of BERT");
    let first = code(secret, 0);
    assert_eq!(desk.prints(&format!("factor confirm ANNA 1 {first}"), ""), "Factor 1 of ANNA counts.\n");
    desk.fails("factor test ANNA 1", &first, 1, "used before");
    assert_eq!(desk.prints("factor test ANNA 1", &code(secret, 1)), "The answer is right.\n");
    desk.fails("factor test ANNA 1", &code(secret, 0), 1, "used before");
    let list = desk.prints("factor list", "");
    assert!(list.contains("phone") && list.contains("counts"), "{list}");

    let text = desk.prints("factor add totp BERT", "");
    assert!(text.contains('▀') && text.contains("otpauth://") && text.contains("Key: "), "{text}");
    desk.fails("factor add totp CARL", "", 3, "no user CARL");
    assert!(desk.prints("factor remove ANNA 1", "").contains("is removed"));
    assert_eq!(desk.json("factor list ANNA"), serde_json::json!([]));
    let audit = desk.prints("audit list", "");
    for reason in ["factor-added-unconfirmed", "factor-confirmed", "factor-tested", "factor-removed"] {
        assert!(audit.contains(reason), "{audit}");
    }
    assert!(!audit.contains(&secret[..9]), "{audit}");
}

#[test]
fn tokens_come_with_their_seed() {
    let desk = Desk::new("token", "");
    desk.fails("factor add hotp ANNA --secret seed --code 000000", "", 1, "nothing is added");
    desk.fails("factor add hotp ANNA --secret nothing", "", 3, "no file nothing");
    desk.fails("factor add hotp ANNA --secret -", "GEZD", 2, "no secret of 16 bytes");
    desk.fails("factor add hotp ANNA --code 755224", "", 2, "--secret");
    assert_eq!(desk.prints("factor add hotp ANNA --secret - --code 755224", SEED), "Factor 1 of ANNA counts.\n");
    desk.fails("factor test ANNA 1", "755224", 1, "used before");
    assert!(desk.prints("factor test ANNA 1", "287082").contains("right"));
    let hex = "3132333435363738393031323334353637383930";
    desk.prints("factor add hotp BERT --hex --secret - --code 755224", hex);
    let codes = hotp::Codes { algorithm: hotp::Algorithm::Sha1, digits: 6, secret: b"12345678901234567890" };
    let (first, second) = (codes.code(70), codes.code(71));
    desk.fails("factor test BERT 2", first.expose(), 1, "wrong");
    desk.fails(&format!("factor resync BERT 2 {} {}", second.expose(), first.expose()), "", 1, "no two codes");
    let said = desk.prints(&format!("factor resync BERT 2 {} {}", first.expose(), second.expose()), "");
    assert!(said.contains("is set right"), "{said}");
    assert!(desk.prints("factor test BERT 2", codes.code(72).expose()).contains("right"));
}

#[test]
fn recovery_codes_are_shown_once_and_good_once() {
    let desk = Desk::new("recovery", "");
    let issued = desk.json("factor recovery ANNA");
    let codes: Vec<&str> = issued["codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    assert_eq!(codes.len(), 10);
    assert!(codes.iter().all(|code| !desk.holds(code.as_bytes()) && !desk.holds(code.replace('-', "").as_bytes())));
    let number = &issued["number"];
    assert!(desk.prints(&format!("factor test ANNA {number}"), &codes[2].to_lowercase()).contains("right"));
    desk.fails(&format!("factor test ANNA {number}"), codes[2], 1, "used before");
    assert!(desk.prints("factor list ANNA", "").contains("9 codes left"));
    let next = desk.json("factor recovery ANNA");
    desk.fails(&format!("factor test ANNA {}", next["number"]), codes[3], 1, "wrong");
    desk.fails(&format!("factor show ANNA {number}"), "", 3, "no factor");
}

#[test]
fn keys_are_rotated_and_retired() {
    let desk = Desk::new("keys", "");
    desk.prints("factor add hotp ANNA --secret seed --code 755224", "");
    let before = desk.json("key list");
    let old = before[0]["id"].as_str().unwrap().to_owned();
    assert_eq!((&before[0]["current"], &before[0]["seals"]), (&true.into(), &1.into()));
    desk.fails(&format!("key retire {old}"), "", 1, "retire it in");
    assert!(desk.prints("key rotate --later", "").contains("Nothing is resealed yet"));
    assert_eq!(desk.json("key list")[1]["seals"], 1);
    assert!(desk.prints("factor test ANNA 1", "287082").contains("right"));
    let file = std::fs::File::options().write(true).open(desk.0.join("key")).unwrap();
    let past = System::new().now().checked_sub(jiff::SignedDuration::from_mins(16)).unwrap();
    file.set_modified(past.into()).unwrap();
    desk.fails(&format!("key retire {old}"), "", 1, "seals 1 secrets");
    let done = desk.json("key reseal");
    assert_eq!((&done["resealed"], &done["broken"]), (&1.into(), &0.into()));
    desk.fails("key retire 00000000", "", 3, "no key 00000000");
    desk.fails("key retire xyz", "", 2, "8 hexadecimal digits");
    let current = done["current"].as_str().unwrap();
    desk.fails(&format!("key retire {current}"), "", 1, "seals 1");
    desk.prints(&format!("key retire {old}"), "");
    assert_eq!(desk.json("key list").as_array().unwrap().len(), 1);
    assert_eq!(std::fs::metadata(desk.0.join("key")).unwrap().len(), 32);
    assert!(desk.prints("factor test ANNA 1", "359152").contains("right"));
    // Without its key a secret is lost, and says so.
    std::fs::remove_file(desk.0.join("key")).unwrap();
    desk.fails("factor test ANNA 1", "969429", 1, "factor-sealed");
    assert_eq!(desk.json("key list")[1]["held"], false);
}

#[test]
fn what_is_not_configured_is_not_added() {
    let desk = Desk::new("bare", "");
    desk.fails("factor add radius ANNA", "", 2, "no table [radius]");
    let otp = "ccccdteffujehknhfjbrjnlnldnhcujvddbikngjrtgh";
    desk.fails(&format!("factor add yubikey ANNA --server --otp {otp}"), "", 2, "no table [yubikey]");
    let key = "ecde18dbe76fbd0c33330f1c354871db";
    let line = "factor add yubikey ANNA --public-id ccccdteffuje --private-id 8792ebfe26cc --key-file -";
    desk.fails(&format!("{line} --otp {}", otp.replace("jrtgh", "jrtgc")), key, 1, "nothing is added");
    desk.fails(line, "hello", 2, "no AES key");
    assert!(desk.prints(&format!("{line} --otp {otp}"), key).contains("counts"));
    desk.fails("factor test ANNA 1", otp, 1, "used before");
    desk.fails(&line.replace("ANNA", "BERT"), key, 1, "exists already");
}

/// A FreeRADIUS of our own on a loopback port.
pub(crate) struct FreeRadius(Child);

impl Drop for FreeRadius {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// FreeRADIUS, where it is installed.
pub(crate) fn freeradius() -> Option<PathBuf> {
    program("freeradius", "FREERADIUS")
        .or_else(|| Some(PathBuf::from("/usr/sbin/freeradius")).filter(|path| path.is_file()))
}

impl FreeRadius {
    /// Starts it in `folder` and waits until it is ready.
    pub(crate) fn start(program: &std::path::Path, folder: &std::path::Path, port: u16) -> Self {
        std::fs::write(folder.join("radiusd.conf"), radius_configuration(folder, port)).unwrap();
        std::fs::write(folder.join("dictionary"), "$INCLUDE /usr/share/freeradius/dictionary\n").unwrap();
        let child = Command::new(program)
            .args(["-f", "-n", "radiusd", "-l", "stdout", "-d"])
            .arg(folder)
            .stdout(std::fs::File::create(folder.join("radius.log")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Self(child);
        let log = || std::fs::read_to_string(folder.join("radius.log")).unwrap();
        let mut waited = Duration::ZERO;
        while !log().contains("Ready to process requests") {
            assert!(waited < Duration::from_secs(20), "FreeRADIUS does not start: {}", log());
            waited += pause(Duration::from_millis(50));
        }
        running
    }
}

/// Its whole configuration: ANNA has a code, BERT is asked for one more.
fn radius_configuration(folder: &std::path::Path, port: u16) -> String {
    let folder = folder.display();
    let mut text = format!(
        "name = private\nlogdir = {folder}\nrun_dir = {folder}\npidfile = {folder}/radius.pid\nlibdir = /usr/lib/freeradius\n\
         max_request_time = 5\ncleanup_delay = 2\nmax_requests = 256\n"
    );
    let _ = write!(
        text,
        "client gateway {{\n  ipaddr = 127.0.0.1\n  secret = \"{RADIUS_SECRET}\"\n  require_message_authenticator = yes\n}}\n"
    );
    text.push_str(
        r#"
log {
  destination = stdout
}
security {
  reject_delay = 0
  status_server = no
}
thread pool {
  start_servers = 1
  max_servers = 1
  min_spare_servers = 1
  max_spare_servers = 1
}
modules {
  always reject {
    rcode = reject
  }
  always handled {
    rcode = handled
  }
}
server default {
  authorize {
    update reply {
      Message-Authenticator := 0x00
    }
    if (&User-Name == "bert@example.com" && !&State) {
      update reply {
        State := 0x737465702032
        Reply-Message := "Enter the code shown by the token:"
      }
      update control {
        Response-Packet-Type := Access-Challenge
      }
      handled
    }
    if (&User-Name == "anna@example.com" && &User-Password == "123456" && &NAS-Identifier == "gate-1") {
      update control {
        Auth-Type := Accept
      }
    }
    elsif (&User-Name == "bert@example.com" && &State == 0x737465702032 && &User-Password == "a longer answer than sixteen") {
      update control {
        Auth-Type := Accept
      }
    }
    else {
      reject
    }
  }
  authenticate {
  }
  post-auth {
    Post-Auth-Type REJECT {
      update reply {
        Message-Authenticator := 0x00
      }
    }
  }
"#,
    );
    let _ = write!(text, "  listen {{\n    type = auth\n    ipaddr = 127.0.0.1\n    port = {port}\n  }}\n}}\n");
    text
}

/// A port that nothing listens on now.
pub(crate) fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn freeradius_accepts_rejects_and_challenges() {
    let Some(program) = freeradius() else {
        return skip("freeradius_accepts_rejects_and_challenges", "freeradius is not installed");
    };
    let (silent, port) = (free_port(), free_port());
    let server = |port: u16, seconds: u32, tries: u32| {
        let address = format!("address = \"127.0.0.1:{port}\"\nsecret_file = \"radius-secret\"\n");
        format!("[[radius.server]]\n{address}timeout_seconds = {seconds}\ntries = {tries}\n")
    };
    let config =
        format!("[radius]\nuser_name = \"{{user-lower}}@example.com\"\n{}{}", server(silent, 1, 1), server(port, 2, 3));
    let desk = Desk::new("radius", &config);
    desk.write("radius-secret", RADIUS_SECRET);
    assert!(desk.prints("check", "").contains("radius    "));
    desk.prints("factor add radius ANNA", "");
    desk.prints("factor add radius BERT", "");
    desk.fails("factor test ANNA 1", "123456", 1, "radius-unreachable");

    let _running = FreeRadius::start(&program, &desk.0, port);

    assert_eq!(desk.prints("factor test ANNA 1", "123456"), "The answer is right.\n");
    desk.fails("factor test ANNA 1", "654321", 1, "wrong");
    assert_eq!(desk.json("factor show ANNA 1")["wrong_answers"], 1);
    assert_eq!(desk.prints("factor test BERT 2", "first\na longer answer than sixteen\n"), "The answer is right.\n");
    desk.fails("factor test BERT 2", "first\nsecond\n", 1, "wrong");
    // With another secret the server does not answer, and we would not believe it.
    desk.write("radius-secret", "another secret of ours..");
    desk.fails("factor test ANNA 1", "123456", 1, "radius-unreachable");
}
