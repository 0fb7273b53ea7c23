//! What the gateway says in its own words, and the host's lists of what there is, made true.
//!
//! Rejections hold none of the words by which clients decide to come again by themselves (lftp: `try again`, `too many` and
//! the like), and nothing that a user sent.

use bytes::{Bytes, BytesMut};
use policy::{Asks, Factor, PasscodePrompt};

use super::client::Wrong;
use super::settings::{ClientTls, Settings};
use crate::command::{Argument, Reach, Verb};
use crate::reply::{Code, Reply};

/// Characters of an address or number that a passcode went to.
const DESTINATION_MAX: usize = 80;

fn own(code: Code, text: &str) -> Bytes {
    Reply::new(code, text).write()
}

/// The greeting: our lines, and the host's.
pub(super) fn greeting(settings: &Settings, host: Option<&Bytes>) -> Bytes {
    let mut lines: Vec<String> = settings.banner.clone().unwrap_or_default();
    if let Some(wire) = host.filter(|_| settings.needs_host_greeting()) {
        lines.extend(texts(wire).map(|line| String::from_utf8_lossy(line).into_owned()));
    }
    if lines.is_empty() {
        lines.push("FTP gateway ready.".to_owned());
    }
    own(Code::READY, &lines.join("\n"))
}

/// The lines of a reply without their codes.
fn texts(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = wire.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let code = wire.get(..3).unwrap_or_default();
    lines.filter(|line| !line.is_empty()).map(move |line| match line.split_at_checked(3) {
        Some((head, [b' ' | b'-', text @ ..])) if head == code => text,
        _ => line,
    })
}

pub(super) fn not_logged_on() -> Bytes {
    own(Code::NOT_LOGGED_ON, "Not logged on.")
}

pub(super) fn tls_needed() -> Bytes {
    own(Code::NOT_LOGGED_ON, "AUTH TLS comes first.")
}

/// The same for all reasons.
pub(super) fn rejected() -> Bytes {
    own(Code::NOT_LOGGED_ON, "Log on attempt rejected.")
}

pub(super) fn no_passcode() -> Bytes {
    own(Code::NOT_LOGGED_ON, "The passcode is missing: send it with ACCT, or log on again with it as the password.")
}

/// What is asked for, and what to do: the passcode as the password of another logon, or as the account.
fn asked(prompt: &PasscodePrompt, how: &str) -> String {
    let plain = |text: &str| text.chars().filter(|c| !c.is_control()).take(DESTINATION_MAX).collect::<String>();
    match &prompt.asks {
        Asks::Sent { destination, prefix, digits } => format!(
            "Passcode {prefix} was sent to {}; it is valid until {}.\n{how} its {digits} digits as the",
            plain(destination),
            prompt.expires
        ),
        Asks::Own { factor, name, text, .. } => {
            let what = match factor {
                Factor::Totp => "the digits of the authenticator app",
                Factor::Hotp => "the digits of the token",
                Factor::Yubikey => "the YubiKey's passcode",
                Factor::Recovery => "a recovery code",
                Factor::OneTime => "the code from the system administrator",
                Factor::Radius | Factor::Email | Factor::Sms => "the code",
            };
            let name = plain(name);
            let name = if name.is_empty() { name } else { format!(" ({name})") };
            let text = text.as_deref().map(|text| format!("{}\n", plain(text))).unwrap_or_default();
            format!("{text}A second factor is needed until {}.\n{how} {what}{name} as the", prompt.expires)
        }
    }
}

/// The challenge, where the next logon brings the answer.
pub(super) fn passcode_sent(prompt: &PasscodePrompt) -> Bytes {
    own(Code::NOT_LOGGED_ON, &format!("{} password.", asked(prompt, "Log on again with")))
}

/// The challenge, where ACCT brings the answer.
pub(super) fn account_needed(prompt: Option<&PasscodePrompt>) -> Bytes {
    let text = match prompt {
        None => "Account needed.".to_owned(),
        Some(prompt) => {
            let message =
                prompt.message.map(|message| format!("{}\n", message.text_for(&prompt.asks))).unwrap_or_default();
            format!("{message}{} account.", asked(prompt, "Enter"))
        }
    };
    own(Code::ACCOUNT_NEEDED, &text)
}

pub(super) fn logged_on() -> Bytes {
    own(Code::LOGGED_ON, "Logged on.")
}

pub(super) fn farewell() -> Bytes {
    own(Code::CLOSING, "Goodbye.")
}

pub(super) fn unavailable() -> Bytes {
    own(Code::UNAVAILABLE, "Server not available.")
}

pub(super) fn host_lost() -> Bytes {
    own(Code::UNAVAILABLE, "The host ended the connection.")
}

pub(super) fn too_late() -> Bytes {
    own(Code::UNAVAILABLE, "Closing the connection.")
}

pub(super) fn ended() -> Bytes {
    own(Code::UNAVAILABLE, "The session was ended by an operator.")
}

pub(super) fn protection(private: bool) -> Bytes {
    own(Code::OK, if private { "Data is protected." } else { "Data is not protected." })
}

pub(super) fn aborted() -> Bytes {
    own(Code::TRANSFER_ABORTED, "The data connection was cut; the transfer is not complete.")
}

pub(super) fn no_data() -> Bytes {
    own(Code::NO_DATA_CONNECTION, "No data connection.")
}

pub(super) fn command_refused() -> Bytes {
    own(Code::NOT_OFFERED, "This command is not allowed here.")
}

/// A line that is no command.
pub(super) fn wrong(wrong: Wrong) -> Bytes {
    match wrong {
        Wrong::TooLong => own(Code::NOT_UNDERSTOOD, "The line is too long."),
        Wrong::NoVerb => own(Code::NOT_UNDERSTOOD, "No such command."),
        Wrong::Argument(_) => own(Code::WRONG_ARGUMENT, "Wrong or missing argument."),
    }
}

/// A verb that goes nowhere, ever.
pub(super) fn never(verb: Verb) -> Bytes {
    if verb == Verb::Ccc {
        own(Code::REFUSED_BY_POLICY, "The control connection stays protected.")
    } else {
        own(Code::NOT_OFFERED, "This command is not offered.")
    }
}

/// A verb that goes nowhere while nobody is admitted.
pub(super) fn refused_before(verb: Verb) -> Bytes {
    if verb.after_admission() == Reach::Nobody { never(verb) } else { not_logged_on() }
}

/// Whether it is `UTF8 ON`, or `UTF8` alone, which means the same.
pub(super) fn is_utf8_on(argument: &Argument) -> bool {
    let text = argument.as_bytes().trim_ascii();
    [&b"UTF8 ON"[..], b"UTF8", b"UTF-8 ON", b"UTF-8"].iter().any(|form| text.eq_ignore_ascii_case(form))
}

/// Whether this feature, or command of a list, is not to be had through the gateway.
fn is_false(settings: &Settings, word: &str) -> bool {
    let known = Verb::from_word(word.as_bytes());
    known.is_some_and(|verb| verb.after_admission() == Reach::Nobody || verb == Verb::Host)
        || (matches!(known, Some(Verb::Auth | Verb::Pbsz | Verb::Prot)) && settings.client_tls == ClientTls::Off)
        || settings.refuses(word)
}

/// The features: what the host has, without what does not pass the gateway, and with what the gateway adds.
pub(super) fn features(settings: &Settings, host: Option<&Bytes>) -> Bytes {
    // A list of one line has no features in it; of the others the first and last line are words.
    let lines: Vec<&[u8]> = host.map(|wire| texts(wire).collect()).unwrap_or_default();
    let inner = lines.split_first().and_then(|(_, rest)| rest.split_last()).map_or(&[][..], |(_, inner)| inner);
    let mut items: Vec<String> = inner
        .iter()
        .map(|line| String::from_utf8_lossy(line.trim_ascii()).into_owned())
        .filter(|item| {
            let word = item.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
            let ours = matches!(
                Verb::from_word(word.as_bytes()),
                Some(Verb::Auth | Verb::Pbsz | Verb::Prot | Verb::Eprt | Verb::Epsv)
            );
            !item.is_empty() && !ours && !is_false(settings, word)
        })
        .collect();
    let tls: &[&str] = if settings.client_tls == ClientTls::Off { &[] } else { &["AUTH TLS", "PBSZ", "PROT"] };
    for item in tls.iter().chain(&["EPRT", "EPSV"]) {
        items.push((*item).to_owned());
    }
    Reply::list(Code::SYSTEM, "Features:", items.iter().map(String::as_str), "End").write()
}

/// The host's HELP, with blanks for the commands that do not pass the gateway.
pub(super) fn help(settings: &Settings, wire: &[u8]) -> Bytes {
    let mut out = BytesMut::from(wire);
    let mut start = None;
    for at in 0..=wire.len() {
        let is_word = wire.get(at).is_some_and(u8::is_ascii_alphanumeric);
        match (start, is_word) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                start = None;
                let word = wire.get(from..at).unwrap_or_default();
                // Lists are in capitals; the same letters in a sentence are not the command.
                let is_command = word.iter().all(|byte| !byte.is_ascii_lowercase());
                if is_command && core::str::from_utf8(word).is_ok_and(|word| is_false(settings, word)) {
                    out.get_mut(from..at).unwrap_or_default().fill(b' ');
                }
            }
            (None, false) | (Some(_), true) => {}
        }
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(client_tls: ClientTls) -> Settings {
        Settings { client_tls, ..Settings::default() }
    }

    #[test]
    fn features_are_those_of_the_front() {
        let host = Bytes::from_static(
            b"211-Feature listing follows:\r\n AUTH TLS\r\n CCC\r\n MLST size*;type*;\r\n EPRT\r\n HOST\r\n211-UTF8\r\n211 End.\r\n",
        );
        let expected = "211-Features:\r\n MLST size*;type*;\r\n UTF8\r\n EPRT\r\n EPSV\r\n211 End\r\n";
        assert_eq!(features(&settings(ClientTls::Off), Some(&host)), expected);
        let expected = "211-Features:\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n EPRT\r\n EPSV\r\n211 End\r\n";
        assert_eq!(features(&settings(ClientTls::Offered), None), expected);
        assert_eq!(features(&settings(ClientTls::Offered), Some(&Bytes::from_static(b"211 none\r\n"))), expected);
    }

    #[test]
    fn help_lists_what_there_is() {
        let host = b"214-Commands of host:\r\n USER CCC  LPRT AUTH\r\n214 Help me.\r\n";
        let expected = "214-Commands of host:\r\n USER           AUTH\r\n214 Help me.\r\n";
        assert_eq!(help(&settings(ClientTls::Offered), host), expected);
        let mut settings = settings(ClientTls::Off);
        settings.refused_commands = vec!["user".parse().unwrap()];
        assert_eq!(help(&settings, host), "214-Commands of host:\r\n                    \r\n214 Help me.\r\n");
    }

    #[test]
    fn greetings() {
        let host = Bytes::from_static(b"220-QTCP at SYS.\r\n331 a trap\r\n220 Idle 5 minutes.\r\n");
        let mut settings = Settings::default();
        let expected = "220-QTCP at SYS.\r\n220-331 a trap\r\n220 Idle 5 minutes.\r\n";
        assert_eq!(greeting(&settings, Some(&host)), expected);
        settings.banner = Some(vec!["Private.".into(), "Keep out.".into()]);
        assert_eq!(greeting(&settings, Some(&host)), "220-Private.\r\n220 Keep out.\r\n");
        settings.banner_with_host = true;
        assert!(greeting(&settings, Some(&host)).ends_with(b"220 Idle 5 minutes.\r\n"));
        settings.hide_system = true;
        assert_eq!(greeting(&settings, Some(&host)), "220-Private.\r\n220 Keep out.\r\n");
        settings.banner = None;
        assert_eq!(greeting(&settings, None), "220 FTP gateway ready.\r\n");
    }

    #[test]
    fn rejections_do_not_bring_lftp_back() {
        let pattern = [
            "too many",
            "overloaded",
            "try again",
            "try later",
            "try back",
            "is restricted to",
            "maximum number",
            "number of connect",
            "session",
            "more connection",
            "already connected",
            "simultaneous login",
            "login incorrect",
        ];
        let all = [rejected(), no_passcode(), not_logged_on(), tls_needed()];
        for words in all {
            let text = String::from_utf8(words.to_vec()).unwrap().to_lowercase();
            assert!(text.starts_with("530 ") && pattern.iter().all(|part| !text.contains(part)), "{text}");
        }
    }
}
