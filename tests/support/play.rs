//! Plays scripts against a gate and compares what it does with what the script expects.

use std::collections::VecDeque;

use bytes::Bytes;
use policy::{Message, Notice, Verdict};
use proxy_tn5250::gate::{AutoSignOn, Order, Printers, Settings, SignOnFields};
use sallyport_fuzz::events::{self, Done, Happening};

use super::script::{self, Expected, Given, ScreenKind, Script, Step};

/// The gate's settings that a script asks for.
pub(crate) fn settings(script: &Script) -> Settings {
    let mut settings = events::settings();
    for (key, value) in &script.settings {
        let limit = || script::duration(value).unwrap_or_else(|| panic!("{}: no time: {value}", script.name));
        match (key.as_str(), value.as_str()) {
            ("order", "password-first") => settings.order = Order::PasswordFirst,
            ("order", "code-first") => settings.order = Order::CodeFirst,
            ("auto-sign-on", "strip") => settings.auto_sign_on = AutoSignOn::Strip,
            ("auto-sign-on", "challenge") => settings.auto_sign_on = AutoSignOn::Challenge,
            ("sign-on-fields", "refuse") => settings.sign_on_fields = SignOnFields::Refuse,
            ("sign-on-fields", "allow") => settings.sign_on_fields = SignOnFields::Allow,
            ("printers", "refuse") => settings.printers = Printers::Refuse,
            ("printers", "ask") => settings.printers = Printers::Ask,
            ("negotiation", _) => settings.limits.negotiation = limit(),
            ("sign-on", _) => settings.limits.sign_on = limit(),
            ("settle", _) => settings.limits.settle = limit(),
            ("reply", _) => settings.limits.reply = limit(),
            ("verdict", _) => settings.limits.verdict = limit(),
            ("prompt", _) => settings.limits.prompt = limit(),
            ("proving", _) => settings.limits.proving = limit(),
            ("farewell", _) => settings.limits.farewell = limit(),
            ("hold", bytes) => settings.limits.hold = bytes.parse().unwrap(),
            _ => panic!("{}: unknown setting {key} {value}", script.name),
        }
    }
    settings
}

/// The guard's verdict that a line `V` gives.
pub(crate) fn verdict(words: &[String]) -> Verdict {
    happening(words).verdict().unwrap_or_else(|| panic!("no verdict: {words:?}"))
}

fn happening(words: &[String]) -> Happening {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match *words {
        ["admit"] => Happening::Admit,
        ["challenge"] => Happening::Challenge(None),
        ["panel"] => Happening::Panel,
        ["challenge", "wrong"] => Happening::Challenge(Some(Message::Wrong)),
        ["challenge", "renewed"] => Happening::Challenge(Some(Message::Renewed)),
        ["challenge", "resent"] => Happening::Challenge(Some(Message::Resent)),
        ["challenge", "resend-refused"] => Happening::Challenge(Some(Message::ResendRefused)),
        ["refuse"] => Happening::Refuse(Notice::Refused),
        ["refuse", "exhausted"] => Happening::Refuse(Notice::Exhausted),
        ["refuse", "unavailable"] => Happening::Refuse(Notice::Unavailable),
        _ => panic!("no verdict: {words:?}"),
    }
}

/// What a step lets happen.
pub(crate) fn given(step: &Step) -> Happening {
    match &step.given {
        Given::Client(bytes) => Happening::Client(bytes.clone()),
        Given::Host(bytes) => Happening::Host(bytes.clone()),
        Given::ClientClosed => Happening::ClientClosed,
        Given::HostClosed => Happening::HostClosed,
        Given::Verdict(words) => happening(words),
        Given::Time(time) => Happening::Time(*time),
        Given::Ended => Happening::End,
    }
}

/// Compares what was done with what a step expects; `how` tells how the script was played.
pub(crate) fn compare(script: &Script, step: &Step, how: &str, done: Vec<Done>) {
    let place = format!("{}.script:{} {how}", script.name, step.line);
    let mut done: VecDeque<Done> = done.into();
    let all = shown(&done);
    for expected in &step.expected {
        let fits = match expected {
            Expected::Client(bytes) => take_bytes(&mut done, bytes, |done| match done {
                Done::ToClient(bytes) => Some(bytes),
                Done::ToHost(_) | Done::Ask(_) | Done::Tell(_) | Done::Close(_) => None,
            }),
            Expected::Host(bytes) => take_bytes(&mut done, bytes, |done| match done {
                Done::ToHost(bytes) => Some(bytes),
                Done::ToClient(_) | Done::Ask(_) | Done::Tell(_) | Done::Close(_) => None,
            }),
            Expected::Screen { kind, texts } => {
                matches!(done.pop_front(), Some(Done::ToClient(bytes)) if is_screen(&bytes, *kind, texts))
            }
            Expected::Question(text) => done.pop_front() == Some(Done::Ask(text.clone())),
            Expected::Report(text) => done.pop_front() == Some(Done::Tell(text.clone())),
            Expected::Close(text) => matches!(done.pop_front(), Some(Done::Close(name)) if name == text),
        };
        assert!(fits, "{place}: expected {}\nall that was done:\n{all}", wanted(expected));
    }
    assert!(done.is_empty(), "{place}: more was done than expected:\n{}", shown(&done));
}

/// Takes whole writes off the front that make up `bytes`.
fn take_bytes(done: &mut VecDeque<Done>, mut bytes: &[u8], of: impl Fn(&Done) -> Option<&Bytes>) -> bool {
    while !bytes.is_empty() {
        let Some(rest) = done.front().and_then(&of).and_then(|write| bytes.strip_prefix(write.as_ref())) else {
            return false;
        };
        bytes = rest;
        done.pop_front();
    }
    true
}

/// Whether `wire` is one record that draws a screen of ours and holds the texts.
pub(crate) fn is_screen(wire: &[u8], kind: ScreenKind, texts: &[String]) -> bool {
    let holds = texts.iter().all(|text| {
        let text: Vec<u8> = text.chars().map(script::ebcdic).collect();
        wire.windows(text.len()).any(|window| window == text)
    });
    // Header, then CLEAR UNIT; our own screens unlock the keyboard, have the error row 24 and end with a read.
    let head = &[0x12, 0xA0, 0, 0, 4, 0, 0, 3, 0x04][..];
    let own = &[0x40, 0x04, 0x11, 0x00, 0x18, 0x01, 7, 0, 0, 0, 24, 0, 0, 0][..];
    let fields = wire.windows(3).filter(|window| matches!(window, [0x1D, 0x40, _])).count();
    let read = wire.ends_with(&[0x04, 0x52, 0, 0, 0xFF, 0xEF]);
    let Some(drawing) = wire.get(2..).and_then(|rest| rest.strip_prefix(head)) else { return false };
    holds
        && match kind {
            ScreenKind::Passcode => drawing.starts_with(own) && fields == 1 && read,
            ScreenKind::Panel => drawing.starts_with(own) && fields == 3 && read,
            ScreenKind::Farewell => drawing.starts_with(own) && fields == 0 && read,
            ScreenKind::Repaint => matches!(drawing.first(), Some(0x40 | 0x20)) && !read,
            ScreenKind::FormAgain => drawing.first() == Some(&0x40) && fields > 1 && read,
        }
}

fn wanted(expected: &Expected) -> String {
    match expected {
        Expected::Client(bytes) => format!("to the client: {}", hex(bytes)),
        Expected::Host(bytes) => format!("to the host: {}", hex(bytes)),
        Expected::Screen { .. } | Expected::Question(_) | Expected::Report(_) | Expected::Close(_) => {
            format!("{expected:?}")
        }
    }
}

fn shown(done: &VecDeque<Done>) -> String {
    done.iter()
        .map(|done| match done {
            Done::ToClient(bytes) => format!("  to the client: {}\n", hex(bytes)),
            Done::ToHost(bytes) => format!("  to the host: {}\n", hex(bytes)),
            Done::Ask(_) | Done::Tell(_) | Done::Close(_) => format!("  {done:?}\n"),
        })
        .collect()
}

/// Bytes for a message: hex, and what of it can be read.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let hex = data_encoding::HEXLOWER.encode(&bytes[..bytes.len().min(200)]);
    format!("{hex} | {}", script::readable(&bytes[..bytes.len().min(1000)]))
}
