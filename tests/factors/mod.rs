//! Every screen that asks for a factor, driven as a user drives it: the gateway as its own process, a simulated host behind
//! it, our own terminal in a pseudo-terminal before it.
//!
//! ```text
//!   choice     several ways, one of them, another one; each kind of factor once right and once not
//!   enrol      tickets, networks, approvals; addresses and apps; walking away
//!   maintain   one's own contacts behind a passcode
//!   files      the same factors by FTP
//!   sms        a number, from its enrolment to the next sign-on
//!   silence    stopping at a screen, and going round in them
//! ```
//!
//! Codes are made here from the published formats, not by the program under test.

mod choice;
mod enrol;
mod files;
mod maintain;
mod silence;
mod sms;

use aws_lc_rs::hmac;
use sallyport::system::System;

use crate::support::site::{PASSWORD, Site};
use crate::support::tmux::Tmux;
use crate::support::{program, skip};

/// A user of ours in front of our terminal.
struct Desk(Tmux);

impl Desk {
    /// At the sign-on display; nothing where there is no tmux, which is told.
    fn open(test: &str, site: &Site) -> Option<Self> {
        if program("tmux", "SALLYPORT_TMUX").is_none() {
            skip(test, "tmux is not installed");
            return None;
        }
        let address = site.gateway.to_string();
        let desk = Self(Tmux::start(80, 28, &[env!("CARGO_BIN_EXE_sallyport"), "terminal", &address]));
        desk.see("Simulated Sign On");
        Some(desk)
    }

    fn see(&self, text: &str) -> String {
        self.0.wait_for(text)
    }

    fn key(&self, key: &str) {
        self.0.keys(&[key]);
    }

    /// Keys `text` where the cursor is, and presses Enter.
    fn enter(&self, text: &str) {
        self.0.text(text);
        self.key("Enter");
    }

    /// Signs on at the sign-on display.
    fn sign_on(&self, user: &str) {
        self.0.text(user);
        self.key("Tab");
        self.enter(PASSWORD);
    }

    /// Types `with` beside the line that holds `text`, and presses Enter.
    fn pick(&self, text: &str, with: &str) {
        let screen = self.see(text);
        let lines: Vec<&str> = screen.lines().collect();
        // One field of one place, then the text from the fifth column on.
        let is_option = |line: &&str| {
            let cells: Vec<char> = line.chars().collect();
            cells.len() > 4 && cells[..4].iter().all(|cell| " _".contains(*cell)) && cells[4] != ' '
        };
        let options: Vec<&str> = lines.into_iter().filter(is_option).collect();
        let place = options.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}:\n{screen}"));
        for _ in 0..place {
            self.key("Tab");
        }
        self.enter(with);
    }

    /// Signs off from the menu.
    fn sign_off(&self) {
        self.see("Simulated Main Menu");
        self.enter("90");
        self.see("Simulated Sign On");
    }

    /// The value behind a label.
    fn value(&self, label: &str) -> String {
        let screen = self.see(label);
        let line = screen.lines().find(|line| line.trim_start().starts_with(label)).unwrap();
        line.split_once(" :").unwrap_or_else(|| panic!("no value: {line}")).1.trim().to_owned()
    }
}

/// HOTP, RFC 4226: six digits of the HMAC-SHA-1 of a counter.
fn hotp(secret: &[u8], counter: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &counter.to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[19] & 0x0F);
    let word = u32::from_be_bytes(tag[at..at + 4].try_into().unwrap()) & 0x7FFF_FFFF;
    format!("{:06}", word % 1_000_000)
}

/// TOTP, RFC 6238: that of the half minute, or of one `ahead`. `key`: base32 as it is shown.
fn totp(key: &str, ahead: i64) -> String {
    let plain: String = key.chars().filter(|letter| *letter != ' ').collect();
    let secret = data_encoding::BASE32_NOPAD.decode(plain.as_bytes()).unwrap();
    hotp(&secret, u64::try_from(System::new().now().as_second() / 30 + ahead).unwrap())
}

/// A code that is certainly wrong near now.
fn wrong(key: &str) -> String {
    let near: Vec<String> = (-2..=3).map(|ahead| totp(key, ahead)).collect();
    (0..).map(|number| format!("{number:06}")).find(|code| !near.contains(code)).unwrap()
}

/// Gives `user` an authenticator app that counts; its key. The code of the half minute before is used up by that.
fn give_app(site: &Site, user: &str) -> String {
    let added: serde_json::Value =
        serde_json::from_str(&site.admin(&["factor", "add", "totp", user, "--label", "phone", "--json"])).unwrap();
    let key = added["secret"].as_str().unwrap().to_owned();
    let number = added["number"].to_string();
    site.admin(&["factor", "confirm", user, &number, &totp(&key, -1)]);
    key
}

#[test]
fn codes_of_the_rfc() {
    let seed = b"12345678901234567890";
    assert_eq!(["755224", "287082", "359152"].map(str::to_owned), [0, 1, 2].map(|counter| hotp(seed, counter)));
    // RFC 6238, appendix B, at 59 seconds: the last six of 94287082.
    assert_eq!(hotp(seed, 59 / 30), "287082");
}
