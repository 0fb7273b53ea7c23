//! What an administrator sets for a listener and its host.

use core::time::Duration;

use crate::command::Command;

/// How a passcode is asked for, where it did not come with the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The logon is rejected with 530; the next one gives the passcode as the password.
    #[default]
    Reject,
    /// 332, and the passcode comes with ACCT. For clients that have a field for an account, or a person who is asked.
    Account,
}

/// TLS of the client's control connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientTls {
    /// There is none.
    #[default]
    Off,
    /// AUTH TLS is there for who wants it.
    Offered,
    /// Nobody logs on without AUTH TLS.
    Required,
    /// It begins with the handshake (port 990).
    Implicit,
}

/// TLS of the client's data connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientData {
    /// As the client chooses with PROT.
    #[default]
    Any,
    /// PROT P only: no transfer without it.
    Private,
}

/// TLS of the host's control connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostTls {
    /// There is none.
    #[default]
    Off,
    /// AUTH TLS; a host that refuses it is not used.
    Explicit,
    /// It begins with the handshake (port 990).
    Implicit,
}

/// TLS of the host's data connections, where its control connection has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostData {
    /// As on the client's side.
    #[default]
    Same,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Who connects to whom for the host's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostMode {
    /// As the client has it on its side.
    #[default]
    Same,
    /// We connect to the host.
    Passive,
    /// The host connects to us.
    Active,
}

/// A command that is refused after admission: a verb, or a verb and the first word behind it (`SITE EXEC`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    verb: String,
    word: Option<String>,
}

/// Why a text names no command that can be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a command to refuse is a verb, or a verb and one word behind it")]
pub struct UnknownCommand;

impl core::str::FromStr for Refused {
    type Err = UnknownCommand;

    fn from_str(text: &str) -> Result<Self, UnknownCommand> {
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
        let mut words = text.split_ascii_whitespace().map(str::to_ascii_uppercase);
        match (words.next(), words.next(), words.next()) {
            (Some(verb), word, None) if is_word(&verb) && word.as_deref().is_none_or(is_word) => {
                Ok(Self { verb, word })
            }
            _ => Err(UnknownCommand),
        }
    }
}

impl Refused {
    /// Whether it is this one.
    pub(super) fn matches(&self, command: &Command) -> bool {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the others have no word that could be refused apart")]
        let argument = match command {
            Command::Plain(_, argument) | Command::Unknown(_, argument) => argument.as_ref(),
            _ => None,
        };
        let is_verb = if let Command::Unknown(word, _) = command {
            // A host that reads four letters would take `RCMDX` for it.
            let head = word.as_str().as_bytes().get(..self.verb.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(self.verb.as_bytes()))
        } else {
            self.is_verb_of(command)
        };
        is_verb
            && self.word.as_ref().is_none_or(|word| {
                let first = argument.and_then(|argument| {
                    argument.as_bytes().split(u8::is_ascii_whitespace).find(|word| !word.is_empty())
                });
                first.is_some_and(|first| first.eq_ignore_ascii_case(word.as_bytes()))
            })
    }

    fn is_verb_of(&self, command: &Command) -> bool {
        command.verb().is_some_and(|verb| self.verb.eq_ignore_ascii_case(verb.word()))
    }

    /// Whether it is all of this verb.
    pub(super) fn is_verb(&self, word: &str) -> bool {
        self.word.is_none() && self.verb.eq_ignore_ascii_case(word)
    }
}

/// How long and how much, all in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the connection, or the end of the last logon, to the next logon.
    pub logon: Duration,
    /// From the connection to the host's greeting.
    pub greeting: Duration,
    /// A handshake with the client.
    pub handshake: Duration,
    /// From a question to its verdict.
    pub verdict: Duration,
    /// All that the host needs to say whether a password is right.
    pub check: Duration,
    /// From the password to a refusal that does not say why: the same for all reasons.
    pub reject: Duration,
    /// How long a connection may wait for the passcode.
    pub prompt: Duration,
    /// From one command to the next.
    pub idle: Duration,
    /// From a command to the host's reply.
    pub command: Duration,
    /// Until the data connections are there, and from a cut transfer to the host's word on it.
    pub settle: Duration,
    /// From the end of a cut transfer to the host's reply to ABOR.
    pub abort: Duration,
    /// Refused logons on one connection.
    pub tries: u32,
    /// Commands without a logon.
    pub commands: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            logon: Duration::from_secs(60),
            greeting: Duration::from_secs(15),
            handshake: Duration::from_secs(15),
            verdict: Duration::from_secs(30),
            check: Duration::from_secs(12),
            reject: Duration::from_millis(1500),
            prompt: Duration::from_secs(5 * 60),
            idle: Duration::from_secs(15 * 60),
            command: Duration::from_secs(60 * 60),
            settle: Duration::from_secs(30),
            abort: Duration::from_secs(5),
            tries: 5,
            commands: 100,
        }
    }
}

/// What an administrator sets.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How a passcode is asked for.
    pub mode: Mode,
    /// The connection ends after the 530 that says a passcode was sent; where no 530 says so (see `helpful`), after each.
    pub close_after_reject: bool,
    /// Once the host has accepted the password, say that a passcode was sent, and where.
    pub helpful: bool,
    /// The lines of our greeting; without any, the host's greeting is shown.
    pub banner: Option<Vec<String>>,
    /// The host's greeting is shown behind our lines.
    pub banner_with_host: bool,
    /// Before the logon nothing of the host is shown: neither its greeting nor its features.
    pub hide_system: bool,
    /// TLS of the client's control connection.
    pub client_tls: ClientTls,
    /// TLS of the client's data connections.
    pub client_data: ClientData,
    /// TLS of the host's control connection.
    pub host_tls: HostTls,
    /// TLS of the host's data connections.
    pub host_data: HostData,
    /// Who connects to whom for the host's data.
    pub host_mode: HostMode,
    /// Commands that are refused after admission.
    pub refused_commands: Vec<Refused>,
    /// How long and how much.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            close_after_reject: false,
            helpful: true,
            banner: None,
            banner_with_host: false,
            hide_system: false,
            client_tls: ClientTls::default(),
            client_data: ClientData::default(),
            host_tls: HostTls::default(),
            host_data: HostData::default(),
            host_mode: HostMode::default(),
            refused_commands: Vec::new(),
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// Whether the host's greeting is part of ours.
    pub(super) const fn needs_host_greeting(&self) -> bool {
        !self.hide_system && (self.banner.is_none() || self.banner_with_host)
    }

    /// Whether nobody logs on without TLS.
    pub(super) const fn needs_client_tls(&self) -> bool {
        matches!(self.client_tls, ClientTls::Required | ClientTls::Implicit)
    }

    /// Whether the host's data goes under TLS, when the client's does or does not.
    pub(super) const fn host_private(&self, client_private: bool) -> bool {
        !matches!(self.host_tls, HostTls::Off)
            && match self.host_data {
                HostData::Same => client_private,
                HostData::Always => true,
                HostData::Never => false,
            }
    }

    /// Whether this verb is refused altogether.
    pub(super) fn refuses(&self, word: &str) -> bool {
        self.refused_commands.iter().any(|refused| refused.is_verb(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::parse;

    #[test]
    fn commands_are_refused_by_verb_and_by_the_word_behind_it() {
        let refused: Refused = "site exec".parse().unwrap();
        for (line, expected) in [
            (&b"SITE EXEC ls"[..], true),
            (b"site  exec", true),
            (b"SITE EXECUTE", false),
            (b"SITE", false),
            (b"SITEX EXEC ls", true),
            (b"SITEX IDLE", false),
            (b"RCMD X", false),
        ] {
            assert_eq!(refused.matches(&parse(line).unwrap()), expected, "{line:?}");
        }
        let refused: Refused = "rcmd".parse().unwrap();
        assert!(refused.matches(&parse(b"rcmd dltlib x").unwrap()));
        assert!(refused.is_verb("RCMD"));
        for (line, expected) in
            [(&b"RCMDX dltlib x"[..], true), (b"rcmdRCMD", true), (b"RCM X", false), (b"XRCMD X", false)]
        {
            assert_eq!(refused.matches(&parse(line).unwrap()), expected, "{line:?}");
        }
        let refused: Refused = "XYZZY".parse().unwrap();
        assert!(refused.matches(&parse(b"xyzzy plugh").unwrap()));
        for text in ["", "A B C", "É"] {
            assert_eq!(text.parse::<Refused>(), Err(UnknownCommand));
        }
    }
}
