//! A client's command: a verb, and an argument that is typed where the gateway must understand it.
//!
//! Sources: RFC 959 §4.1 and §5.3, RFC 1123 §4.1, RFC 2228 §3, RFC 2389, RFC 2428, RFC 2640, RFC 3659, RFC 4217, RFC 7151;
//! IBM i's own verbs.
//!
//! Invariants: a command is written as one line, since no argument can hold CR, LF or NUL, and an IAC is doubled; `parse`
//! of what is written gives the same command; passwords and accounts are kept as they are, blanks included, and are in no
//! `Debug`; arguments show in it by their length only.

use core::fmt;
use std::net::{SocketAddr, SocketAddrV4};

use bytes::Bytes;
use memchr::memchr3;
use nom::bytes::complete::take_while_m_n;
use nom::character::complete::{char, u32 as number};
use nom::combinator::{opt, rest};
use nom::error::context;
use nom::sequence::preceded;

use crate::address;
use crate::error::{Error, whole};
use crate::line::{self, CR, LF};
use crate::order::Family;

mod verb;

pub use verb::{Reach, Verb};

/// The longest verb, in bytes. Those in the table have four; unknown ones may be longer.
pub const VERB_MAX: usize = 16;

/// An argument: bytes in whatever character set, which hold no CR, LF or NUL and so cannot end their line.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Argument(Vec<u8>);

impl Argument {
    /// An argument of these bytes.
    ///
    /// # Errors
    /// There is a CR, LF or NUL in it. RFC 2640 §3.1 writes CR in a file name as CR NUL; that is refused as well.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let bytes = bytes.into();
        match memchr3(CR, LF, 0, &bytes) {
            None => Ok(Self(bytes)),
            Some(at) => Err(Error::new("CR, LF or NUL", at)),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes without the blanks at the end.
    fn trimmed(&self) -> &[u8] {
        self.0.trim_ascii_end()
    }

    /// Whether it is empty, which is another thing than no argument.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Argument({} bytes)", self.0.len())
    }
}

/// A password, a passcode or both: an argument that nothing shows, not even its length, and that is wiped on drop. Compare passcodes in constant
/// time, not with `==`.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(Argument);

impl Hidden {
    /// Hides an argument.
    #[must_use]
    pub const fn new(argument: Argument) -> Self {
        Self(argument)
    }

    /// The bytes. Each call is a place to look at in a review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The bytes, moved to where they are wiped.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        core::mem::take(&mut self.0.0)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        policy::wipe(&mut self.0.0);
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

/// A verb that is not in the table, as the client spelled it. It is not shown either: passwords get into wrong lines.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Word(String);

impl Word {
    /// The word: letters and digits, a letter first.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Word({} bytes)", self.0.len())
    }
}

/// The mechanism of AUTH (RFC 4217 §4 and its drafts).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mechanism {
    /// `TLS`.
    Tls,
    /// `TLS-C`, the same.
    TlsC,
    /// `TLS-P`: TLS, and data is protected at once.
    TlsP,
    /// `SSL`, which is TLS-P in old clients and TLS in others.
    Ssl,
    /// Something else; the answer is 504.
    Other(Argument),
}

/// How data is protected (RFC 2228 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protection {
    /// `C`, clear.
    Clear,
    /// `S`, safe: integrity only. Not with TLS.
    Safe,
    /// `E`, confidential: no integrity. Not with TLS.
    Confidential,
    /// `P`, private: what TLS does.
    Private,
    /// Something else; the answer is 504.
    Other(Argument),
}

/// What EPSV asks for (RFC 2428 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extended {
    /// A port, in the family of the control connection.
    Any,
    /// A port in this family.
    Family(Family),
    /// `ALL`: from now on nothing but EPSV will come.
    All,
    /// A family that nobody knows; the answer is 522.
    Other(u32),
}

/// A command. What the gateway need not understand to be safe is [`Plain`](Self::Plain): its verb in capitals, its
/// argument as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// USER: a new logon begins.
    User(Argument),
    /// PASS; an empty password is an attempt too.
    Pass(Hidden),
    /// ACCT; some clients send it empty, or without being asked.
    Acct(Hidden),
    /// REIN.
    Rein,
    /// QUIT.
    Quit,
    /// HOST.
    Host(Argument),
    /// AUTH.
    Auth(Mechanism),
    /// PBSZ.
    Pbsz(u32),
    /// PROT.
    Prot(Protection),
    /// PASV.
    Pasv,
    /// EPSV.
    Epsv(Extended),
    /// PORT; whether the client may name this place is for [`address::is_own`] to say.
    Port(SocketAddrV4),
    /// EPRT; likewise.
    Eprt(SocketAddr),
    /// EPRT with a family that nobody knows, as it came; the answer is 522.
    EprtOther(Argument),
    /// ABOR.
    Abor,
    /// FEAT.
    Feat,
    /// Any other verb of the table.
    Plain(Verb, Option<Argument>),
    /// A verb that is not in the table, as it was spelled.
    Unknown(Word, Option<Argument>),
}

/// Parses a client's line, as [`line::Splitter`] cuts it: without its end, telnet undone.
///
/// Verbs may be in any case. One blank stands behind the verb; everything behind that is the argument. Blanks alone are
/// no argument to a verb that takes none.
///
/// # Errors
/// The line holds CR or NUL, does not begin with a verb, or a typed argument is missing or wrong. The answer is 501: no
/// client tells it from the 500 that RFC 959 has for a line without a verb.
pub fn parse(line: &[u8]) -> Result<Command, Error> {
    if let Some(at) = memchr3(CR, LF, 0, line) {
        return Err(Error::new("CR, LF or NUL", at));
    }
    let is_part = |byte: u8| byte.is_ascii_alphanumeric();
    let word = context("no verb", take_while_m_n(1, VERB_MAX, is_part));
    let (word, argument) = whole(line, (word, opt(preceded(context("no blank behind the verb", char(' ')), rest))))?;
    let start = word.len().saturating_add(1);
    let argument = argument.map(Argument::new).transpose()?;
    match Verb::from_word(word) {
        Some(verb) => known(verb, argument).map_err(|error| error.behind(start)),
        None if word.first().is_some_and(u8::is_ascii_alphabetic) => {
            Ok(Command::Unknown(Word(String::from_utf8_lossy(word).into_owned()), argument))
        }
        None => Err(Error::new("no verb", 0)),
    }
}

/// A verb of the table with its argument. Blanks behind a typed argument are let go, since it is written anew.
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever need not be understood is plain")]
fn known(verb: Verb, argument: Option<Argument>) -> Result<Command, Error> {
    let given = |argument: Option<Argument>| {
        argument.filter(|argument| !argument.is_empty()).ok_or(Error::new("no argument", 0))
    };
    let secret = |argument: Option<Argument>| Hidden::new(argument.unwrap_or(Argument(Vec::new())));
    let alone = |argument: Option<Argument>, command| match argument {
        Some(argument) if argument.0.iter().any(|byte| *byte != b' ') => Err(Error::new("an argument", 0)),
        _ => Ok(command),
    };
    Ok(match verb {
        Verb::User => Command::User(given(argument)?),
        Verb::Pass => Command::Pass(secret(argument)),
        Verb::Acct => Command::Acct(secret(argument)),
        Verb::Rein => alone(argument, Command::Rein)?,
        Verb::Quit => alone(argument, Command::Quit)?,
        Verb::Host => Command::Host(given(argument)?),
        Verb::Auth => Command::Auth(Mechanism::parse(given(argument)?)),
        Verb::Pbsz => Command::Pbsz(whole(given(argument)?.trimmed(), context("no number", number))?),
        Verb::Prot => Command::Prot(Protection::parse(given(argument)?)),
        Verb::Pasv => alone(argument, Command::Pasv)?,
        Verb::Epsv => Command::Epsv(Extended::parse(argument.as_ref())?),
        Verb::Port => Command::Port(address::parse_port(given(argument)?.trimmed())?),
        Verb::Eprt => {
            let argument = given(argument)?;
            match address::parse_extended_port(argument.trimmed())? {
                Some(place) => Command::Eprt(place),
                None => Command::EprtOther(argument),
            }
        }
        Verb::Abor => alone(argument, Command::Abor)?,
        Verb::Feat => alone(argument, Command::Feat)?,
        _ => Command::Plain(verb, argument),
    })
}

impl Command {
    /// The verb, if it is in the table.
    #[must_use]
    pub const fn verb(&self) -> Option<Verb> {
        Some(match self {
            Self::User(_) => Verb::User,
            Self::Pass(_) => Verb::Pass,
            Self::Acct(_) => Verb::Acct,
            Self::Rein => Verb::Rein,
            Self::Quit => Verb::Quit,
            Self::Host(_) => Verb::Host,
            Self::Auth(_) => Verb::Auth,
            Self::Pbsz(_) => Verb::Pbsz,
            Self::Prot(_) => Verb::Prot,
            Self::Pasv => Verb::Pasv,
            Self::Epsv(_) => Verb::Epsv,
            Self::Port(_) => Verb::Port,
            Self::Eprt(_) | Self::EprtOther(_) => Verb::Eprt,
            Self::Abor => Verb::Abor,
            Self::Feat => Verb::Feat,
            Self::Plain(verb, _) => *verb,
            Self::Unknown(..) => return None,
        })
    }

    /// Whether it means something while nobody is admitted; a verb that is not in the table does not.
    #[must_use]
    pub fn is_for_logon(&self) -> bool {
        self.verb().is_some_and(Verb::is_for_logon)
    }

    /// How far it may go once its user is admitted; a verb that is not in the table goes to the host.
    #[must_use]
    pub fn after_admission(&self) -> Reach {
        self.verb().map_or(Reach::Host, Verb::after_admission)
    }

    /// The line for the host, its end included: the verb in capitals, every IAC doubled, CR LF.
    #[must_use]
    pub fn write(&self) -> Bytes {
        let word = if let Self::Unknown(word, _) = self { word.as_str() } else { self.verb().map_or("", Verb::word) };
        // Room for all of it: a vector that grows leaves an unwiped copy of a password behind.
        let hidden = if let Self::Pass(secret) | Self::Acct(secret) = self { secret.expose().len() } else { 0 };
        let mut wire = Vec::with_capacity(hidden.saturating_mul(2).saturating_add(2 * VERB_MAX));
        wire.extend_from_slice(word.as_bytes());
        let mut append = |argument: &[u8]| {
            wire.push(b' ');
            line::double_into(argument, &mut wire);
        };
        match self {
            Self::User(argument)
            | Self::Host(argument)
            | Self::EprtOther(argument)
            | Self::Plain(_, Some(argument))
            | Self::Unknown(_, Some(argument)) => append(argument.as_bytes()),
            Self::Pass(secret) | Self::Acct(secret) => append(secret.expose()),
            Self::Auth(mechanism) => append(mechanism.word()),
            Self::Pbsz(size) => append(size.to_string().as_bytes()),
            Self::Prot(protection) => append(protection.word()),
            Self::Epsv(Extended::Family(family)) => append(family.number().to_string().as_bytes()),
            Self::Epsv(Extended::Other(family)) => append(family.to_string().as_bytes()),
            Self::Epsv(Extended::All) => append(b"ALL"),
            Self::Port(place) => append(address::write_port(*place).as_bytes()),
            Self::Eprt(place) => append(address::write_extended_port(*place).as_bytes()),
            Self::Rein
            | Self::Quit
            | Self::Pasv
            | Self::Epsv(Extended::Any)
            | Self::Abor
            | Self::Feat
            | Self::Plain(_, None)
            | Self::Unknown(_, None) => {}
        }
        wire.extend_from_slice(line::END);
        wire.into()
    }
}

impl Mechanism {
    const WORDS: [(&'static str, Self); 4] =
        [("TLS", Self::Tls), ("TLS-C", Self::TlsC), ("TLS-P", Self::TlsP), ("SSL", Self::Ssl)];

    fn parse(argument: Argument) -> Self {
        let named = Self::WORDS.into_iter().find(|(word, _)| word.as_bytes().eq_ignore_ascii_case(argument.trimmed()));
        named.map_or(Self::Other(argument), |(_, mechanism)| mechanism)
    }

    fn word(&self) -> &[u8] {
        match self {
            Self::Tls => b"TLS",
            Self::TlsC => b"TLS-C",
            Self::TlsP => b"TLS-P",
            Self::Ssl => b"SSL",
            Self::Other(argument) => argument.as_bytes(),
        }
    }
}

impl Protection {
    fn parse(argument: Argument) -> Self {
        match argument.trimmed() {
            b"C" | b"c" => Self::Clear,
            b"S" | b"s" => Self::Safe,
            b"E" | b"e" => Self::Confidential,
            b"P" | b"p" => Self::Private,
            _ => Self::Other(argument),
        }
    }

    fn word(&self) -> &[u8] {
        match self {
            Self::Clear => b"C",
            Self::Safe => b"S",
            Self::Confidential => b"E",
            Self::Private => b"P",
            Self::Other(argument) => argument.as_bytes(),
        }
    }
}

impl Extended {
    fn parse(argument: Option<&Argument>) -> Result<Self, Error> {
        let argument = argument.map(Argument::trimmed).unwrap_or_default();
        if argument.is_empty() {
            return Ok(Self::Any);
        }
        if argument.eq_ignore_ascii_case(b"ALL") {
            return Ok(Self::All);
        }
        let family = whole(argument, context("neither ALL nor a number", number))?;
        Ok(match family {
            1 => Self::Family(Family::V4),
            2 => Self::Family(Family::V6),
            other => Self::Other(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::line::{Line, Side, Splitter};

    fn argument(bytes: &[u8]) -> Argument {
        Argument::new(bytes).unwrap()
    }

    fn hidden(bytes: &[u8]) -> Hidden {
        Hidden::new(argument(bytes))
    }

    /// What a host reads that gets the command.
    fn on_the_wire(command: &Command) -> Bytes {
        let mut wire = BytesMut::from(&command.write()[..]);
        let mut splitter = Splitter::new(Side::Client, 100_000);
        let Ok(Some(Line::Whole(line))) = splitter.take(&mut wire) else { panic!("{command:?} is no line") };
        assert!(wire.is_empty(), "{command:?} is more than one line");
        line.freeze()
    }

    #[test]
    fn commands() {
        let plain = |verb, text: &[u8]| Command::Plain(verb, Some(argument(text)));
        let unknown = |word: &str, text: &[u8]| Command::Unknown(Word(word.into()), Some(argument(text)));
        for (line, command, written) in [
            (&b"USER anna"[..], Command::User(argument(b"anna")), &b"USER anna"[..]),
            (b"user CDTS3500", Command::User(argument(b"CDTS3500")), b"USER CDTS3500"),
            (b"PASS secret", Command::Pass(hidden(b"secret")), b"PASS secret"),
            (b"PASS  sec ret ", Command::Pass(hidden(b" sec ret ")), b"PASS  sec ret "),
            (b"pAsS p:123456", Command::Pass(hidden(b"p:123456")), b"PASS p:123456"),
            (b"PASS ", Command::Pass(hidden(b"")), b"PASS "),
            (b"PASS", Command::Pass(hidden(b"")), b"PASS "),
            (b"PASS \xFC\xFF", Command::Pass(hidden(b"\xFC\xFF")), b"PASS \xFC\xFF"),
            (b"ACCT ", Command::Acct(hidden(b"")), b"ACCT "),
            (b"ACCT default", Command::Acct(hidden(b"default")), b"ACCT default"),
            (b"REIN", Command::Rein, b"REIN"),
            (b"quit  ", Command::Quit, b"QUIT"),
            (b"HOST [::1]", Command::Host(argument(b"[::1]")), b"HOST [::1]"),
            (b"AUTH TLS", Command::Auth(Mechanism::Tls), b"AUTH TLS"),
            (b"AUTH tls-c ", Command::Auth(Mechanism::TlsC), b"AUTH TLS-C"),
            (b"AUTH TLS-P", Command::Auth(Mechanism::TlsP), b"AUTH TLS-P"),
            (b"AUTH SSL", Command::Auth(Mechanism::Ssl), b"AUTH SSL"),
            (b"AUTH GSSAPI", Command::Auth(Mechanism::Other(argument(b"GSSAPI"))), b"AUTH GSSAPI"),
            (b"PBSZ 0", Command::Pbsz(0), b"PBSZ 0"),
            (b"PBSZ 4294967295", Command::Pbsz(u32::MAX), b"PBSZ 4294967295"),
            (b"PROT P", Command::Prot(Protection::Private), b"PROT P"),
            (b"PROT c", Command::Prot(Protection::Clear), b"PROT C"),
            (b"PROT S", Command::Prot(Protection::Safe), b"PROT S"),
            (b"PROT E", Command::Prot(Protection::Confidential), b"PROT E"),
            (b"PROT X", Command::Prot(Protection::Other(argument(b"X"))), b"PROT X"),
            (b"PASV", Command::Pasv, b"PASV"),
            (b"EPSV", Command::Epsv(Extended::Any), b"EPSV"),
            (b"EPSV 1", Command::Epsv(Extended::Family(Family::V4)), b"EPSV 1"),
            (b"EPSV 2", Command::Epsv(Extended::Family(Family::V6)), b"EPSV 2"),
            (b"epsv all", Command::Epsv(Extended::All), b"EPSV ALL"),
            (b"EPSV 3", Command::Epsv(Extended::Other(3)), b"EPSV 3"),
            (b"PORT 10,0,0,1,4,1", Command::Port("10.0.0.1:1025".parse().unwrap()), b"PORT 10,0,0,1,4,1"),
            (b"EPRT |1|10.0.0.1|1025|", Command::Eprt("10.0.0.1:1025".parse().unwrap()), b"EPRT |1|10.0.0.1|1025|"),
            (b"EPRT !2!::1!1025!", Command::Eprt("[::1]:1025".parse().unwrap()), b"EPRT |2|::1|1025|"),
            (b"EPRT |3|x|1|", Command::EprtOther(argument(b"|3|x|1|")), b"EPRT |3|x|1|"),
            (b"ABOR", Command::Abor, b"ABOR"),
            (b"feat", Command::Feat, b"FEAT"),
            (b"OPTS UTF8 ON", plain(Verb::Opts, b"UTF8 ON"), b"OPTS UTF8 ON"),
            (b"retr A file ", plain(Verb::Retr, b"A file "), b"RETR A file "),
            (b"SITE NAMEFMT 1", plain(Verb::Site, b"NAMEFMT 1"), b"SITE NAMEFMT 1"),
            (b"RCMD DLTF A", plain(Verb::Rcmd, b"DLTF A"), b"RCMD DLTF A"),
            (b"LIST", Command::Plain(Verb::List, None), b"LIST"),
            (b"LIST ", plain(Verb::List, b""), b"LIST "),
            (b"CCC", Command::Plain(Verb::Ccc, None), b"CCC"),
            (b"XsHa256 a", unknown("XsHa256", b"a"), b"XsHa256 a"),
        ] {
            assert_eq!(parse(line).as_ref(), Ok(&command), "{}", line.escape_ascii());
            assert_eq!(on_the_wire(&command), written, "{}", line.escape_ascii());
        }
        assert_eq!(&Command::Pass(hidden(b"a\xFFb")).write()[..], b"PASS a\xFF\xFFb\r\n");
    }

    #[test]
    fn what_is_no_command_is_refused_with_its_place() {
        for (line, error) in [
            (&b""[..], Error::new("no verb", 0)),
            (b" USER a", Error::new("no verb", 0)),
            (b"\x16\x03\x01", Error::new("no verb", 0)),
            (b"7ZIP a", Error::new("no verb", 0)),
            (b"USER\ta", Error::new("surplus bytes", 4)),
            (b"ABCDEFGHIJKLMNOPQ", Error::new("surplus bytes", 16)),
            (b"CWD a\r\0b", Error::new("CR, LF or NUL", 5)),
            (b"CWD a\rDELE b", Error::new("CR, LF or NUL", 5)),
            (b"CWD a\nDELE b", Error::new("CR, LF or NUL", 5)),
            (b"PASS a\0", Error::new("CR, LF or NUL", 6)),
            (b"USER", Error::new("no argument", 5)),
            (b"USER ", Error::new("no argument", 5)),
            (b"AUTH", Error::new("no argument", 5)),
            (b"PBSZ", Error::new("no argument", 5)),
            (b"PBSZ -1", Error::new("no number", 5)),
            (b"PBSZ 4294967296", Error::new("no number", 5)),
            (b"PBSZ 0 0", Error::new("surplus bytes", 6)),
            (b"EPSV FOUR", Error::new("neither ALL nor a number", 5)),
            (b"PASV 1", Error::new("an argument", 5)),
            (b"PORT 1,2,3,4,5", Error::new("not six numbers from 0 to 255", 14)),
            (b"PORT 1,2,3,4,5,256", Error::new("not six numbers from 0 to 255", 15)),
            (b"EPRT |1|1.2.3.4|65536|", Error::new("no port", 16)),
        ] {
            assert_eq!(parse(line), Err(error), "{}", line.escape_ascii());
        }
        assert_eq!(Argument::new(&b"ab\0"[..]), Err(Error::new("CR, LF or NUL", 2)));
    }

    #[test]
    fn unknown_verbs_wait_for_admission() {
        let command = parse(b"NEWVERB x").unwrap();
        assert_eq!((command.is_for_logon(), command.after_admission()), (false, Reach::Host));
        let command = parse(b"eprt |3|x|1|").unwrap();
        assert_eq!((command.is_for_logon(), command.after_admission()), (false, Reach::Gateway));
        assert!(parse(b"noop").unwrap().is_for_logon());
    }

    #[test]
    fn what_clients_send_to_log_on_gets_an_answer() {
        for (client, commands) in [
            ("curl", "AUTH SSL|AUTH TLS|USER a|PASS b"),
            ("lftp", "FEAT|AUTH TLS|OPTS UTF8 ON|USER a|PASS b"),
            ("netkit ftp-ssl, PHP, node ftp", "AUTH TLS|AUTH SSL|PBSZ 0|PROT P|USER a|PASS b"),
            ("basic-ftp, Windows ftp.exe", "OPTS UTF8 ON|USER a|PASS b"),
            ("ncftp, ftplib, aioftp", "USER a|PASS b|ACCT "),
            ("WinSCP", "USER a|PASS b|ACCT default"),
            ("others", "HOST ftp.example.com|CLNT x|USER a|PASS b|QUIT|NOOP|REIN"),
        ] {
            for line in commands.split('|') {
                let command = parse(line.as_bytes()).unwrap();
                assert!(command.is_for_logon(), "{client}: {line}");
            }
        }
        // PHP, node ftp and promise-ftp go on as if they were logged on.
        for line in
            ["PASV", "EPSV", "PORT 1,2,3,4,5,6", "TYPE I", "LIST", "NLST", "RETR x", "SYST", "PWD", "SITE x", "RCMD x"]
        {
            assert!(!parse(line.as_bytes()).unwrap().is_for_logon(), "{line}");
        }
    }

    #[test]
    fn debug_shows_no_arguments() {
        let shown = |line: &[u8]| format!("{:?}", parse(line).unwrap());
        assert_eq!(shown(b"PASS secret"), "Pass(Hidden(..))");
        assert_eq!(shown(b"acct secret"), "Acct(Hidden(..))");
        assert_eq!(shown(b"USER secret"), "User(Argument(6 bytes))");
        assert_eq!(shown(b"secret secret"), "Unknown(Word(6 bytes), Some(Argument(6 bytes)))");
        assert_eq!(shown(b"SITE secret"), "Plain(Site, Some(Argument(6 bytes)))");
    }

    /// Lines that are often commands.
    fn line() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            4 => any::<prop::sample::Index>().prop_map(|at| at.get(Verb::ALL).word().as_bytes().to_vec()),
            1 => vec(any::<u8>(), 0..6),
            1 => "[a-zA-Z]{1,17}".prop_map(String::into_bytes),
        ];
        let argument = prop_oneof![
            vec(any::<u8>(), 0..30),
            "[|!12]{0,3}[0-9,.:|!]{0,24}".prop_map(String::into_bytes),
            "(TLS|SSL|tls-p|ALL|all|[PCSE]|[0-9]{1,10}| )[ ]?".prop_map(String::into_bytes),
        ];
        (word, prop_oneof![3 => Just(&b" "[..]), 1 => Just(&b""[..])], argument)
            .prop_map(|(word, blank, argument)| [&word[..], blank, &argument].concat())
    }

    proptest! {
        #[test]
        fn parse_and_write_are_inverse(line in line()) {
            if let Ok(command) = parse(&line) {
                let written = on_the_wire(&command);
                prop_assert_eq!(parse(&written), Ok(command.clone()));
                // What passes is what came, but for the verb's capitals.
                if let Command::Plain(verb, _) = &command {
                    prop_assert!(line.eq_ignore_ascii_case(&written));
                    prop_assert_eq!(line.get(verb.word().len()..), written.get(verb.word().len()..));
                }
                if let Command::Unknown(..) = command {
                    prop_assert_eq!(line, written);
                }
            }
        }

        #[test]
        fn no_argument_makes_another_line(bytes in vec(any::<u8>(), 0..50)) {
            let holds_end = bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
            match Argument::new(bytes.clone()) {
                Ok(argument) => {
                    prop_assert!(!holds_end);
                    let command = Command::Pass(Hidden::new(argument));
                    prop_assert_eq!(on_the_wire(&command), [&b"PASS "[..], &bytes].concat());
                    if let Command::Pass(hidden) = command {
                        prop_assert_eq!(hidden.into_bytes(), bytes);
                    }
                }
                Err(_) => prop_assert!(holds_end),
            }
        }
    }
}
