//! A host's replies, line by line as they come, and replies of our own.
//!
//! Sources: RFC 959 §4.2 (codes, replies of one line and of several), RFC 2228 §6 (protected replies), RFC 2389 §3.2
//! (lists of features), and the habits of real hosts and clients, see [`Reader`] and [`Reply`].
//!
//! Invariants: lenient when reading, strict when writing; a reply is never collected, so its length costs no memory, and
//! it has a limit all the same; what is read and written again is the same reply to a strict reader and to one that
//! stops at any code and blank; `Debug` shows no text of a host.

use core::fmt;
use std::net::SocketAddrV4;

use bytes::Bytes;

use crate::Error;
use crate::address;
use crate::line::END;

/// The most bytes of one reply, the ends of its lines included: long lists come as the reply to STAT.
pub const REPLY_MAX: usize = 1024 * 1024;

/// The most lines of one reply.
pub const REPLY_LINES_MAX: usize = 10_000;

/// The most bytes of a line of ours, its end included. Some clients stop at one of about 4,000; terminals are narrower.
pub const OWN_LINE_MAX: usize = 511;

/// A code and what stands behind it, a blank or a hyphen.
const HEAD: usize = 4;

/// The code of a reply: three digits, the first from 1 to 6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u16);

/// What the first digit of a code says (RFC 959 §4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// 1: begun, another reply follows.
    Preliminary,
    /// 2: done.
    Completed,
    /// 3: good so far, more is needed.
    Intermediate,
    /// 4: not done; may be tried again as it is.
    Transient,
    /// 5: not done.
    Permanent,
    /// 6: a reply in disguise (RFC 2228); never asked for.
    Protected,
}

impl Code {
    /// 120: in some minutes. Most clients give up on it as a greeting.
    pub const READY_SOON: Self = Self(120);
    /// 125: the data connection is open, the transfer starts.
    pub const TRANSFER_STARTS: Self = Self(125);
    /// 200.
    pub const OK: Self = Self(200);
    /// 211: system status, or a list of features.
    pub const SYSTEM: Self = Self(211);
    /// 220: the greeting.
    pub const READY: Self = Self(220);
    /// 221: the farewell.
    pub const CLOSING: Self = Self(221);
    /// 227: passive mode, with address and port.
    pub const PASSIVE: Self = Self(227);
    /// 229: extended passive mode, with port.
    pub const EXTENDED_PASSIVE: Self = Self(229);
    /// 230: logged on.
    pub const LOGGED_ON: Self = Self(230);
    /// 234: the security mechanism is accepted, the handshake follows.
    pub const SECURITY_ACCEPTED: Self = Self(234);
    /// 331: the password is needed.
    pub const PASSWORD_NEEDED: Self = Self(331);
    /// 332: the account is needed.
    pub const ACCOUNT_NEEDED: Self = Self(332);
    /// 421: the service ends. Clients come again by themselves.
    pub const UNAVAILABLE: Self = Self(421);
    /// 425: no data connection.
    pub const NO_DATA_CONNECTION: Self = Self(425);
    /// 426: the transfer was cut.
    pub const TRANSFER_ABORTED: Self = Self(426);
    /// 500: no such command, or too long.
    pub const NOT_UNDERSTOOD: Self = Self(500);
    /// 501: wrong arguments.
    pub const WRONG_ARGUMENT: Self = Self(501);
    /// 502: a command that is not offered.
    pub const NOT_OFFERED: Self = Self(502);
    /// 503: not now.
    pub const WRONG_ORDER: Self = Self(503);
    /// 504: not with this argument.
    pub const ARGUMENT_NOT_OFFERED: Self = Self(504);
    /// 521: data cannot go with this protection.
    pub const PROTECTION_NEEDED: Self = Self(521);
    /// 522: not this family of addresses.
    pub const FAMILY_NOT_OFFERED: Self = Self(522);
    /// 530: not logged on.
    pub const NOT_LOGGED_ON: Self = Self(530);
    /// 534: refused for reasons of security.
    pub const REFUSED_BY_POLICY: Self = Self(534);
    /// 536: this protection is not offered.
    pub const PROTECTION_NOT_OFFERED: Self = Self(536);

    /// A code, if it can be one: 100 to 699.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number >= 100 && number < 700 { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// What its first digit says.
    #[must_use]
    pub const fn class(self) -> Class {
        match self.0 {
            ..200 => Class::Preliminary,
            200..300 => Class::Completed,
            300..400 => Class::Intermediate,
            400..500 => Class::Transient,
            500..600 => Class::Permanent,
            600.. => Class::Protected,
        }
    }

    /// Whether it ends what its command began: anything but 1xx.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self.class(), Class::Preliminary)
    }

    /// The code at the front of a line, and what follows its three digits.
    fn at(line: &[u8]) -> Option<(Self, &[u8])> {
        match line {
            [first @ b'1'..=b'6', second @ b'0'..=b'9', third @ b'0'..=b'9', rest @ ..] => {
                let digit = |byte: &u8| u16::from(byte.saturating_sub(b'0'));
                let number = digit(first).saturating_mul(100).saturating_add(digit(second).saturating_mul(10));
                Some((Self(number.saturating_add(digit(third))), rest))
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({})", self.0)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Where a line stands in its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// It is the whole reply.
    Only,
    /// It is the first of several.
    First,
    /// It is neither the first nor the last.
    Inner,
    /// It is the last of several.
    Last,
}

/// One line of a reply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// The reply's code, whatever this line begins with.
    pub code: Code,
    /// Where the line stands.
    pub place: Place,
    /// The text behind code and blank or hyphen; of an inner line, all of it.
    pub text: &'a [u8],
}

impl fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("code", &self.code).field("place", &self.place).finish_non_exhaustive()
    }
}

impl Part<'_> {
    /// Whether the reply ends with this line.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(self.place, Place::Only | Place::Last)
    }

    /// The line for the client, its end included: as it came, with the blank behind the code that some hosts leave off
    /// and clients need, and with a blank in front of an inner line that looks like the line of another reply.
    #[must_use]
    pub fn write(&self) -> Bytes {
        let mut line = Vec::with_capacity(self.text.len().saturating_add(HEAD).saturating_add(END.len()));
        match self.place {
            Place::Only | Place::Last => line.extend_from_slice(format!("{} ", self.code).as_bytes()),
            Place::First => line.extend_from_slice(format!("{}-", self.code).as_bytes()),
            Place::Inner => match self.text {
                [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9'] | [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ', ..] => {
                    line.push(b' ');
                }
                [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'-', ..]
                    if Code::at(self.text).is_none_or(|(code, _)| code != self.code) =>
                {
                    line.push(b' ');
                }
                _ => {}
            },
        }
        line.extend_from_slice(self.text);
        line.extend_from_slice(END);
        line.into()
    }
}

/// Reads a host's replies, one line after the other; one reader belongs to one connection.
///
/// A reply of several lines begins with a code and a hyphen and ends with the same code at the start of a line and a
/// blank, or nothing, behind it. Everything between is text: lines with the same code and a hyphen, with another code,
/// indented, or empty.
#[derive(Debug, Default)]
pub struct Reader {
    /// The code of the reply that has begun.
    open: Option<Code>,
    lines: usize,
    bytes: usize,
}

impl Reader {
    /// A reader at the start of a reply.
    #[must_use]
    pub const fn new() -> Self {
        Self { open: None, lines: 0, bytes: 0 }
    }

    /// Whether a reply has begun and not ended.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Parses the next line, as [`line::Splitter`](crate::line::Splitter) cuts it. Nothing is there where no reply is
    /// open and the line is not the start of one: leave it out, the next may be better.
    ///
    /// # Errors
    /// The reply passes [`REPLY_MAX`] or [`REPLY_LINES_MAX`]. Later calls repeat the error.
    pub fn parse<'a>(&mut self, line: &'a [u8]) -> Result<Option<Part<'a>>, Error> {
        let part = match (self.open, Code::at(line)) {
            (None, Some((code, []))) => Part { code, place: Place::Only, text: &[] },
            (None, Some((code, [b' ', text @ ..]))) => Part { code, place: Place::Only, text },
            (None, Some((code, [b'-', text @ ..]))) => Part { code, place: Place::First, text },
            (None, _) => return Ok(None),
            (Some(open), Some((code, []))) if code == open => Part { code, place: Place::Last, text: &[] },
            (Some(open), Some((code, [b' ', text @ ..]))) if code == open => Part { code, place: Place::Last, text },
            (Some(open), _) => Part { code: open, place: Place::Inner, text: line },
        };
        let bytes = self.bytes.saturating_add(line.len()).saturating_add(END.len());
        if self.lines >= REPLY_LINES_MAX || bytes > REPLY_MAX {
            self.lines = REPLY_LINES_MAX;
            return Err(Error::new("reply over the limit", self.bytes));
        }
        self.lines = self.lines.saturating_add(1);
        self.bytes = bytes;
        if part.is_end() {
            *self = Self::new();
        } else {
            self.open = Some(part.code);
        }
        Ok(Some(part))
    }
}

/// A reply of our own.
///
/// Every line of it but the last begins with code and hyphen: nearly all clients take a text line that looks like the
/// end for the end. Only [`list`](Self::list) has other lines, which begin with one blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: Code,
    /// Lines without code and end; the last one ends the reply.
    lines: Vec<Own>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Own {
    Text(String),
    Item(String),
}

impl Reply {
    /// A reply of this text. Each line of the text is a line of the reply, and more than one if it is longer than
    /// [`OWN_LINE_MAX`] allows. Characters that control a terminal become blanks.
    #[must_use]
    pub fn new(code: Code, text: &str) -> Self {
        Self { code, lines: lines(text).map(Own::Text).collect() }
    }

    /// A reply of a heading, of items that each stand in lines of their own behind one blank, as RFC 2389 §3.2 wants
    /// it of features, and of a last line.
    #[must_use]
    pub fn list<'a>(code: Code, heading: &str, items: impl IntoIterator<Item = &'a str>, last: &str) -> Self {
        let items = items.into_iter().flat_map(lines).map(Own::Item);
        Self { code, lines: lines(heading).map(Own::Text).chain(items).chain(lines(last).map(Own::Text)).collect() }
    }

    /// 227 with this place.
    #[must_use]
    pub fn passive(place: SocketAddrV4) -> Self {
        Self::new(Code::PASSIVE, &format!("Entering Passive Mode ({}).", address::write_port(place)))
    }

    /// 229 with this port.
    #[must_use]
    pub fn extended_passive(port: u16) -> Self {
        let fields = address::write_extended_passive(port);
        Self::new(Code::EXTENDED_PASSIVE, &format!("Entering Extended Passive Mode ({fields})."))
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// All its lines for the client. Send them in one piece: there are clients that hang on a greeting in several.
    #[must_use]
    pub fn write(&self) -> Bytes {
        let mut wire = String::new();
        let mut rest = self.lines.iter();
        while let Some(line) = rest.next() {
            let mark = if rest.as_slice().is_empty() { ' ' } else { '-' };
            match line {
                Own::Text(text) => wire.push_str(&format!("{}{mark}{text}\r\n", self.code)),
                Own::Item(text) => wire.push_str(&format!(" {text}\r\n")),
            }
        }
        wire.into()
    }
}

/// The lines of a text, at least one: each short enough, none with a character that controls a terminal.
fn lines(text: &str) -> impl Iterator<Item = String> {
    let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
    lines.flat_map(|line| {
        let mut pieces = vec![String::new()];
        let room = OWN_LINE_MAX.saturating_sub(HEAD).saturating_sub(END.len());
        for character in line.strip_suffix('\r').unwrap_or(line).chars() {
            let character = if character.is_control() { ' ' } else { character };
            let is_full = |piece: &String| piece.len().saturating_add(character.len_utf8()) > room;
            match pieces.last_mut() {
                Some(piece) if !is_full(piece) => piece.push(character),
                _ => pieces.push(character.into()),
            }
        }
        pieces
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What a reader makes of these lines.
    fn read<'a>(lines: &[&'a [u8]]) -> Vec<Option<Part<'a>>> {
        let mut reader = Reader::new();
        lines.iter().map(|line| reader.parse(line).unwrap()).collect()
    }

    fn written(lines: &[&[u8]]) -> String {
        let parts = read(lines).into_iter().map(|part| part.unwrap().write());
        parts.map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
    }

    #[test]
    fn codes() {
        for (number, class) in [
            (100, Class::Preliminary),
            (199, Class::Preliminary),
            (220, Class::Completed),
            (331, Class::Intermediate),
            (421, Class::Transient),
            (530, Class::Permanent),
            (631, Class::Protected),
            (699, Class::Protected),
        ] {
            let code = Code::new(number).unwrap();
            assert_eq!((code.number(), code.class(), code.is_final()), (number, class, number >= 200));
        }
        assert_eq!(Code::new(99).or(Code::new(700)), None);
        assert!(!Code::TRANSFER_STARTS.is_final() && Code::NOT_LOGGED_ON > Code::UNAVAILABLE);
    }

    #[test]
    fn replies_of_one_line() {
        for (line, code, text, written) in [
            (&b"331 Enter password."[..], 331, &b"Enter password."[..], &b"331 Enter password.\r\n"[..]),
            (
                b"215  OS/400 is the remote operating system.",
                215,
                b" OS/400 is the remote operating system.",
                b"215  OS/400 is the remote operating system.\r\n",
            ),
            (b"220", 220, b"", b"220 \r\n"),
            (b"220 ", 220, b"", b"220 \r\n"),
            (b"257 \"\xE4\xFF\r\0\" created", 257, b"\"\xE4\xFF\r\0\" created", b"257 \"\xE4\xFF\r\0\" created\r\n"),
            (b"631 YWJj", 631, b"YWJj", b"631 YWJj\r\n"),
        ] {
            let part = Part { code: Code::new(code).unwrap(), place: Place::Only, text };
            assert_eq!(read(&[line]), [Some(part)], "{}", line.escape_ascii());
            assert_eq!(part.write(), written);
            assert!(part.is_end());
        }
        for line in [
            &b""[..],
            b"22",
            b"22O ok",
            b"220ok",
            b"2200 ok",
            b" 220 ok",
            b"020 ok",
            b"720 ok",
            b"220\tok",
            b"ok",
            b"\xFF\xFB\x01220 ok",
        ] {
            assert_eq!(read(&[line]), [None], "{}", line.escape_ascii());
        }
    }

    #[test]
    fn replies_of_several_lines() {
        use Place::{First, Inner, Last, Only};
        for (lines, places) in [
            // IBM i: greeting, features, a list that changes the format of names.
            (
                &[&b"220-QTCP at X."[..], b"220 Connection will close if idle more than 5 minutes."][..],
                &[First, Last][..],
            ),
            (
                &[b"211-Feature listing follows:", b" AUTH TLS", b" CCC", b"211 End of feature listing."],
                &[First, Inner, Inner, Last],
            ),
            (&[b"125-NAMEFMT set to 1.", b"125 List started."], &[First, Last]),
            // Inner lines: the same code with a hyphen, another code, indented, empty, none, longer numbers.
            (&[b"220-a", b"220-b", b"220 c"], &[First, Inner, Last]),
            (&[b"230-a", b"331 not the end", b"331", b"230 b"], &[First, Inner, Inner, Last]),
            (
                &[b"230-a", b" 230 b", b"", b"b", b"2300 b", b"230b", b"230 c"],
                &[First, Inner, Inner, Inner, Inner, Inner, Last],
            ),
            // The end without a blank; beginnings without text.
            (&[b"214-", b"214"], &[First, Last]),
            // One after the other.
            (&[b"150 a", b"226-b", b"226 c", b"221 d"], &[Only, First, Last, Only]),
            (&[b"426 a", b"226 b"], &[Only, Only]),
            // Features without a blank in front, RFC 3659 facts.
            (&[b"211-a", b"MDTM", b"211 b"], &[First, Inner, Last]),
            (&[b"250-a", b" type=file;size=1; x", b"250 b"], &[First, Inner, Last]),
        ] {
            let parts = read(lines);
            let found: Vec<_> = parts.iter().map(|part| part.as_ref().unwrap().place).collect();
            assert_eq!(found, places, "{}", lines.concat().escape_ascii());
        }
    }

    #[test]
    fn replies_of_ibm_i_are_written_as_they_came() {
        for (reply, codes) in [
            ("220-QTCP at HOST.\r\n220 Connection will close if idle more than 5 minutes.\r\n", &[220][..]),
            ("220-QTCP AT HOST.\r\n220 CONNECTION WILL CLOSE IF IDLE MORE THAN 5 MINUTES.\r\n", &[220]),
            ("331 Enter password.\r\n230 CDTS3500 logged on.\r\n", &[331, 230]),
            ("215  OS/400 is the remote operating system. The TCP/IP version is \"V5R2M0\".\r\n", &[215]),
            ("250  Now using naming format \"0\".\r\n", &[250]),
            ("257 \"QGPL\" is current library.\r\n250 \"/\" is current directory.\r\n", &[257, 250]),
            ("125-NAMEFMT set to 1.\r\n125 List started.\r\n250 List completed.\r\n", &[125, 250]),
            ("150 Retrieving member APKEYF in file APKEYF in library QGPL.\r\n", &[150]),
            ("250 File transfer completed successfully.\r\n221 QUIT subcommand received.\r\n", &[250, 221]),
            (
                "211-Feature listing follows:\r\n AUTH TLS\r\n CCC\r\n PBSZ\r\n PROT\r\n211 End of feature listing.\r\n",
                &[211],
            ),
            ("431 Requested security mechanism not available at this time.\r\n", &[431]),
            ("501 OPTS unsuccessful; specified subcommand not recognized.\r\n", &[501]),
        ] {
            let lines: Vec<&[u8]> = reply.split_terminator("\r\n").map(str::as_bytes).collect();
            let ends = read(&lines).into_iter().flatten().filter(Part::is_end);
            assert_eq!(ends.map(|part| part.code.number()).collect::<Vec<_>>(), codes, "{reply}");
            assert_eq!(written(&lines), reply);
        }
    }

    #[test]
    fn what_is_written_keeps_simple_clients_in_step() {
        for (lines, expected) in [
            (&[&b"220-QTCP at X."[..], b"220 Up."][..], "220-QTCP at X.\r\n220 Up.\r\n"),
            (&[b"220-a", b"331 not the end", b"220"], "220-a\r\n 331 not the end\r\n220 \r\n"),
            (&[b"220-a", b"331", b"331-b", b"220-c", b"220 d"], "220-a\r\n 331\r\n 331-b\r\n220-c\r\n220 d\r\n"),
            (
                &[b"211-a", b" MDTM", b"", b"2026-11-22 b", b"2200 c", b"211 d"],
                "211-a\r\n MDTM\r\n\r\n2026-11-22 b\r\n2200 c\r\n211 d\r\n",
            ),
            (&[b"211-a", b"000 b", b"999-c", b"211 d"], "211-a\r\n 000 b\r\n 999-c\r\n211 d\r\n"),
        ] {
            assert_eq!(written(lines), expected);
        }
    }

    #[test]
    fn a_reply_ends_somewhere() {
        let mut reader = Reader::new();
        assert!(reader.parse(b"211-a").is_ok());
        assert!((2..REPLY_LINES_MAX).all(|_| reader.parse(b"b").is_ok()));
        assert!(reader.parse(b"211 b").is_ok() && !reader.is_open());

        assert!(reader.parse(b"211-a").is_ok());
        assert!((1..REPLY_LINES_MAX).all(|_| reader.parse(b"b").is_ok()));
        let over = Err(Error::new("reply over the limit", REPLY_LINES_MAX * 3 + 4));
        assert_eq!((reader.parse(b"211 c"), reader.parse(b"211 c")), (over, over));

        let (mut reader, long) = (Reader::new(), vec![b'b'; 1022]);
        assert!(reader.parse(b"211-a").is_ok());
        assert!((1..1024).all(|_| reader.parse(&long).is_ok()));
        let over = Err(Error::new("reply over the limit", 7 + 1023 * 1024));
        assert_eq!((reader.parse(&long), reader.parse(b"211 b")), (over, over));
    }

    #[test]
    fn own_replies() {
        for (reply, expected) in [
            (Reply::new(Code::PASSWORD_NEEDED, "Enter password."), "331 Enter password.\r\n"),
            (Reply::new(Code::READY, ""), "220 \r\n"),
            (Reply::new(Code::READY, "a\r\n331 b\n\nc\n"), "220-a\r\n220-331 b\r\n220-\r\n220 c\r\n"),
            (Reply::new(Code::READY, "a\rb\0\x1B[2Jc\u{9B}\t"), "220 a b  [2Jc  \r\n"),
            (
                Reply::list(Code::SYSTEM, "Features:", ["AUTH TLS", "PBSZ"], "End"),
                "211-Features:\r\n AUTH TLS\r\n PBSZ\r\n211 End\r\n",
            ),
            (Reply::passive("192.0.2.1:1025".parse().unwrap()), "227 Entering Passive Mode (192,0,2,1,4,1).\r\n"),
            (Reply::extended_passive(1025), "229 Entering Extended Passive Mode (|||1025|).\r\n"),
        ] {
            assert_eq!(reply.write(), expected);
        }
        assert_eq!(Reply::new(Code::READY, "").code(), Code::READY);
    }

    #[test]
    fn own_lines_are_short() {
        let long = "\u{E4}".repeat(300);
        let wire = Reply::list(Code::SYSTEM, &long, [&*long], &long).write();
        let lengths: Vec<_> = wire.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::len).collect();
        assert_eq!(lengths, [4 + 504 + 2, 4 + 96 + 2, 1 + 504 + 2, 1 + 96 + 2, 4 + 504 + 2, 4 + 96 + 2]);
        assert!(lengths.iter().all(|length| *length <= OWN_LINE_MAX));
    }

    #[test]
    fn debug_shows_no_text_of_a_host() {
        assert_eq!(format!("{:?}", read(&[b"230 secret"])), "[Some(Part { code: Code(230), place: Only, .. })]");
    }

    /// Lines that are often those of replies.
    fn line() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            3 => "(220|220|331)[ -]?[a-z]{0,3}".prop_map(String::into_bytes),
            1 => "[ ]?[0-9]{0,4}[ -]?[a-z]{0,3}".prop_map(String::into_bytes),
            1 => vec(any::<u8>().prop_filter("an end", |byte| *byte != b'\n'), 0..9),
        ]
    }

    /// What a simple client does: a reply ends at any three digits and a blank.
    fn ends(line: &[u8]) -> bool {
        matches!(line, [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ', ..])
    }

    proptest! {
        #[test]
        fn reading_and_writing_are_inverse(lines in vec(line(), 0..20)) {
            let (mut reader, mut again) = (Reader::new(), Reader::new());
            for line in &lines {
                let Some(part) = reader.parse(line).unwrap() else {
                    prop_assert!(!reader.is_open());
                    continue;
                };
                prop_assert_eq!(part.is_end(), !reader.is_open());
                let written = part.write();
                let written = written.strip_suffix(END).unwrap();
                prop_assert_eq!(ends(written), part.is_end());
                let second = again.parse(written).unwrap().unwrap();
                prop_assert_eq!((second.code, second.place), (part.code, part.place));
                // Once written it stays as it is.
                prop_assert_eq!(second.write(), part.write());
                if part.place != Place::Inner {
                    prop_assert_eq!(second.text, part.text);
                }
            }
        }

        #[test]
        fn own_replies_are_whole_replies(number in 100..700_u16, text in "[a-z0-9 \r\n\u{9B}-]{0,40}|\\PC{0,700}", items in vec("\\PC{0,9}", 0..3)) {
            let code = Code::new(number).unwrap();
            let list = Reply::list(code, &text, items.iter().map(String::as_str), &text);
            for wire in [Reply::new(code, &text).write(), list.write()] {
                let mut reader = Reader::new();
                let body = wire.strip_suffix(END).unwrap();
                let lines: Vec<_> = body.split(|byte| *byte == b'\n').collect();
                for (at, line) in lines.iter().enumerate() {
                    let is_end = at == lines.len() - 1;
                    let line = if is_end { line } else { line.strip_suffix(b"\r").unwrap() };
                    prop_assert!(line.len() + END.len() <= OWN_LINE_MAX && !line.contains(&b'\r'));
                    prop_assert!(line.starts_with(number.to_string().as_bytes()) || line.starts_with(b" "));
                    let part = reader.parse(line).unwrap().unwrap();
                    prop_assert_eq!((part.code, part.is_end(), ends(line)), (code, is_end, is_end));
                }
            }
        }
    }
}
