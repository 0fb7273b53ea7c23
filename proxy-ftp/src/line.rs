//! The lines of the control channel: cuts them off a buffer, with telnet undone, and writes them.
//!
//! Sources: RFC 959 §4.1.3 and §5.3 (a command is one line of the telnet protocol), RFC 1123 §4.1.2.12 (telnet commands
//! among it), RFC 854 (what they are), and the habits of real clients, see [`Splitter`].
//!
//! Invariants: how the input is cut into pieces changes nothing; every byte is looked at once, and once more where
//! telnet is undone; a buffer never keeps more than its line limit beyond what was last appended; an emptied buffer keeps
//! no memory; `Debug` shows lengths, not bytes.

use core::{fmt, mem};

use bytes::{Buf, BytesMut};
use memchr::{memchr, memchr2};

use crate::Error;

/// The most wire bytes of a client's line, its end included, while nobody is logged on. RFC 959 sets no limit; 512 would
/// do for user and password, and this is what intrusion detection systems read.
pub const LINE_BEFORE_LOGON_MAX: usize = 4096;

/// The most wire bytes of a client's line, its end included, afterwards: IFS paths of many names of 255 bytes.
pub const LINE_MAX: usize = 8192;

/// The most wire bytes of one line of a host's reply, its end included.
pub const REPLY_LINE_MAX: usize = 16 * 1024;

/// The most wire bytes of a line that is too long: so many are skipped in search of its end, then it is an error.
pub const SKIP_MAX: usize = 256 * 1024;

pub(crate) const CR: u8 = 0x0D;
pub(crate) const LF: u8 = 0x0A;
/// Interpret as command, and the byte that stands for itself when doubled.
pub(crate) const IAC: u8 = 0xFF;

/// Whose lines they are. A client's are commands, with telnet among them. A host's are replies; hosts send no telnet, and a byte
/// FF in them stays as it is, doubled or not, for the client to read.
pub use crate::order::Side;

/// What is taken for a line.
#[derive(Clone, PartialEq, Eq)]
pub enum Line {
    /// A line without its end, LF or CR LF; of a client's, telnet undone. CR and NUL may stand in it:
    /// [`command::parse`](crate::command::parse) refuses them. Its memory is its owner's alone, to be wiped after a password.
    Whole(BytesMut),
    /// A line over the limit, skipped up to and with its LF.
    TooLong,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(content) => write!(f, "Whole({} bytes)", content.len()),
            Self::TooLong => f.write_str("TooLong"),
        }
    }
}

/// Cuts lines off a buffer. It remembers how far it has looked; one splitter belongs to one direction of one connection,
/// and to one buffer. Where TLS begins, go on with a new one and an empty buffer: what was sent in the clear must not count.
///
/// A client's telnet commands are taken out wherever they stand, even within a verb: IAC WILL, WONT, DO, DONT and an
/// option, and any other IAC and command (EC to FA). IAC IAC is one byte FF. IAC in front of anything else stands alone
/// and is taken out alone: a client that aborts sends IAC IP IAC, then DM as urgent data, then `ABOR`, and where the
/// urgent byte gets lost the `A` must not go with it. An LF that is a telnet option ends no line.
#[derive(Debug)]
pub struct Splitter {
    side: Side,
    line_max: usize,
    /// Everything of the line before this offset has been looked at.
    scanned: usize,
    /// Whether telnet stands in the line.
    telnet: bool,
    /// How many bytes of a line that is too long are gone already; [`SKIP_MAX`] once the stream is given up.
    skipped: usize,
}

impl Splitter {
    /// For what a client sends, from the start: the limit is [`LINE_BEFORE_LOGON_MAX`].
    #[must_use]
    pub const fn client() -> Self {
        Self::new(Side::Client, LINE_BEFORE_LOGON_MAX)
    }

    /// For what a host sends: the limit is [`REPLY_LINE_MAX`].
    #[must_use]
    pub const fn host() -> Self {
        Self::new(Side::Host, REPLY_LINE_MAX)
    }

    /// For lines of up to `line_max` wire bytes, their end included.
    #[must_use]
    pub const fn new(side: Side, line_max: usize) -> Self {
        Self { side, line_max, scanned: 0, telnet: false, skipped: 0 }
    }

    /// Sets another limit, from the line on that is not taken yet: [`LINE_MAX`] after the logon, for one.
    pub const fn set_line_max(&mut self, line_max: usize) {
        self.line_max = line_max;
    }

    /// Takes one line off the front of `buffer`, or nothing when no line is complete yet.
    ///
    /// Bytes are appended to `buffer` between the calls and taken away by this function alone. When the line is all that
    /// the buffer holds, the buffer's memory goes with it: an idle connection keeps none.
    ///
    /// # Errors
    /// A line has no end within [`SKIP_MAX`] bytes. What follows is not looked at; later calls repeat the error.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Line>, Error> {
        if self.skipped >= SKIP_MAX {
            return Err(self.give_up(buffer));
        }
        let Some(end) = self.scan(buffer) else { return self.wait(buffer).map(|()| None) };
        if self.skipped.saturating_add(end) > SKIP_MAX {
            return Err(self.give_up(buffer));
        }
        let is_too_long = self.skipped > 0 || end > self.line_max;
        let telnet = self.telnet;
        *self = Self::new(self.side, self.line_max);
        let mut line = if end >= buffer.len() { mem::take(buffer) } else { buffer.split_to(end) };
        if is_too_long {
            return Ok(Some(Line::TooLong));
        }
        line.truncate(end.saturating_sub(1));
        if telnet {
            let plain = BytesMut::from(undo(&line).as_slice());
            policy::wipe(&mut line);
            line = plain;
        }
        if line.last() == Some(&CR) {
            line.truncate(line.len().saturating_sub(1));
        }
        Ok(Some(Line::Whole(line)))
    }

    /// Looks on from where it stopped; the offset behind the line if it is complete.
    fn scan(&mut self, buffer: &mut BytesMut) -> Option<usize> {
        loop {
            let ahead = buffer.get(self.scanned..).unwrap_or_default();
            let found = match self.side {
                Side::Client => memchr2(LF, IAC, ahead),
                Side::Host => memchr(LF, ahead),
            };
            let Some(found) = found else {
                self.scanned = buffer.len();
                return None;
            };
            let at = self.scanned.saturating_add(found);
            let ahead = ahead.get(found..).unwrap_or_default();
            if ahead.first() == Some(&LF) {
                return Some(at.saturating_add(1));
            }
            self.scanned = at;
            let escape = Escape::at(ahead)?;
            if self.scanned == 0 && self.skipped == 0 && escape != Escape::Byte {
                // Telnet in front of a line goes at once, so that a client that sends nothing else fills no buffer.
                buffer.advance(escape.length());
            } else {
                self.scanned = at.saturating_add(escape.length());
                self.telnet = true;
            }
        }
    }

    /// Keeps what may become a line, and drops what is too long for one.
    fn wait(&mut self, buffer: &mut BytesMut) -> Result<(), Error> {
        if self.skipped > 0 || self.scanned >= self.line_max {
            buffer.advance(self.scanned.min(buffer.len()));
            self.skipped = self.skipped.saturating_add(mem::take(&mut self.scanned));
            if self.skipped >= SKIP_MAX {
                return Err(self.give_up(buffer));
            }
        }
        if buffer.is_empty() {
            *buffer = BytesMut::new();
        }
        Ok(())
    }

    fn give_up(&mut self, buffer: &mut BytesMut) -> Error {
        self.skipped = SKIP_MAX;
        *buffer = BytesMut::new();
        Error::new("line without an end", SKIP_MAX)
    }
}

/// What begins with an IAC.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// IAC IAC, a byte of the line.
    Byte,
    /// An IAC in front of no command: the command was urgent data that got lost, or the sender knows no telnet.
    Alone,
    /// A command.
    Command,
    /// A negotiation: a verb and an option.
    Negotiation,
}

impl Escape {
    /// What begins at the front of `ahead`; nothing if more bytes are needed to tell.
    const fn at(ahead: &[u8]) -> Option<Self> {
        match ahead {
            [IAC, IAC, ..] => Some(Self::Byte),
            [IAC, 0xFB..=0xFE, _, ..] => Some(Self::Negotiation),
            [] | [_] | [IAC, 0xFB..=0xFE] => None,
            [IAC, 0xEC..=0xFA, ..] => Some(Self::Command),
            [_, _, ..] => Some(Self::Alone),
        }
    }

    const fn length(self) -> usize {
        match self {
            Self::Alone => 1,
            Self::Byte | Self::Command => 2,
            Self::Negotiation => 3,
        }
    }
}

/// A line without its telnet. An IAC as its last byte stands alone, since what followed was the LF.
fn undo(mut line: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(line.len());
    while let Some((content, rest)) = memchr(IAC, line).and_then(|at| line.split_at_checked(at)) {
        plain.extend_from_slice(content);
        let escape = Escape::at(rest).unwrap_or(Escape::Alone);
        if escape == Escape::Byte {
            plain.push(IAC);
        }
        line = rest.get(escape.length()..).unwrap_or_default();
    }
    plain.extend_from_slice(line);
    plain
}

/// Appends `content` as it stands in a client's line: every IAC doubled. The line's end is [`END`].
pub(crate) fn double_into(mut content: &[u8], wire: &mut Vec<u8>) {
    while let Some((plain, rest)) = memchr(IAC, content).and_then(|at| content.split_at_checked(at.saturating_add(1))) {
        wire.extend_from_slice(plain);
        wire.push(IAC);
        content = rest;
    }
    wire.extend_from_slice(content);
}

/// The end of every line that is written, whatever ended it when it came.
pub(crate) const END: &[u8] = b"\r\n";

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What comes out when the pieces go in one after the other: lines, the error that ended it, and what is left.
    fn split<'a>(
        mut splitter: Splitter,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<Line>, Option<Error>, usize) {
        let (mut buffer, mut lines) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match splitter.take(&mut buffer) {
                    Ok(Some(line)) => lines.push(line),
                    Ok(None) => break,
                    Err(error) => return (lines, Some(error), buffer.len()),
                }
            }
            assert!(buffer.len() <= splitter.line_max + 2, "the splitter keeps too much");
        }
        (lines, None, buffer.len())
    }

    fn whole(content: &[u8]) -> Line {
        Line::Whole(BytesMut::from(content))
    }

    #[test]
    fn lines_of_a_client() {
        for (wire, lines) in [
            (&b""[..], &[][..]),
            (b"QUIT\r", &[]),
            (b"QUIT\r\n", &[&b"QUIT"[..]]),
            (b"QUIT\n", &[b"QUIT"]),
            (b"\r\n\n", &[b"", b""]),
            (b"USER a\r\nPASS b \r\nNO", &[b"USER a", b"PASS b "]),
            // What no command may hold stays in the line, to be refused there.
            (b"CWD a\r\0b\r\n", &[b"CWD a\r\0b"]),
            (b"CWD a\rb\r\r\n", &[b"CWD a\rb\r"]),
            // Telnet: doubled, negotiations, commands, at any place.
            (b"CWD \xFF\xFF\r\n", &[b"CWD \xFF"]),
            (b"CWD \xFF\xFF\xFF\xFF\xFF\xF1\xFF\xFF\r\n", &[b"CWD \xFF\xFF\xFF"]),
            (b"\xFF\xFB\x01\xFF\xFC\x01\xFF\xFD\x03\xFF\xFE\x03NOOP\r\n", &[b"NOOP"]),
            (b"NO\xFF\xFD\x0AOP\r\n", &[b"NOOP"]),
            (b"\xFF\xFD\xFFNOOP\r\n", &[b"NOOP"]),
            (b"NOOP\r\xFF\xF1\n", &[b"NOOP"]),
            // Latin-1 by a sender that knows no telnet.
            (b"CWD \xFFa\xFF\r\n", &[b"CWD a"]),
            // Only its end tells that an IAC stood alone.
            (b"NOOP\xFF\n", &[b"NOOP"]),
            (b"\xFF\nNOOP\xFF\r\n", &[b"", b"NOOP"]),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| whole(line)).collect();
            assert_eq!(split(Splitter::client(), [wire]).0, lines, "{wire:02x?}");
            assert_eq!(split(Splitter::client(), wire.chunks(1)).0, lines, "{wire:02x?}");
        }
    }

    #[test]
    fn an_abort_is_understood_in_every_form() {
        for wire in [
            // ftplib: all of it urgent, the LF the urgent byte, in line.
            &b"ABOR\r\n"[..],
            // RFC 959 and lftp: IP, then DM as the urgent byte, in line.
            b"\xFF\xF4\xFF\xF2ABOR\r\n",
            // lftp where the urgent byte is lost.
            b"\xFF\xF4\xFFABOR\r\n",
            b"\xFF\xF2\xFF\xF4ABOR\r\n",
            b"\xFF\xF4ABOR\r\n",
            b"\xFF\xF2ABOR\r\n",
            b"AB\xFF\xF1OR\r\n",
            b"\xFF\xF4\xFF\xF2ABOR\n",
        ] {
            for size in 1..=wire.len() {
                assert_eq!(
                    split(Splitter::client(), wire.chunks(size)),
                    (vec![whole(b"ABOR")], None, 0),
                    "{wire:02x?}"
                );
            }
        }
    }

    #[test]
    fn lines_of_a_host_keep_their_bytes() {
        let wire = b"220-QTCP at X.\r\n220 \xFF\xFF \xFF\xF1 \r\0x\r\r\n \xFF\xFD\n";
        let lines = vec![whole(b"220-QTCP at X."), whole(b"220 \xFF\xFF \xFF\xF1 \r\0x\r"), whole(b" \xFF\xFD")];
        for size in 1..=wire.len() {
            assert_eq!(split(Splitter::host(), wire.chunks(size)), (lines.clone(), None, 0));
        }
    }

    #[test]
    fn the_longest_line_passes_and_one_byte_more_does_not() {
        for (splitter, max) in [
            (Splitter::client as fn() -> Splitter, LINE_BEFORE_LOGON_MAX),
            (|| Splitter::new(Side::Client, LINE_MAX), LINE_MAX),
            (Splitter::host, REPLY_LINE_MAX),
        ] {
            for (content, end) in [(max - 2, "\r\n"), (max - 1, "\n")] {
                let longest = [&vec![b'a'; content][..], end.as_bytes(), b"NOOP\r\n"].concat();
                let over = [&b"a"[..], &longest].concat();
                for size in [1, 7, 100_000] {
                    let lines = split(splitter(), longest.chunks(size)).0;
                    assert_eq!(lines, [whole(&vec![b'a'; content]), whole(b"NOOP")]);
                    assert_eq!(split(splitter(), over.chunks(size)).0, [Line::TooLong, whole(b"NOOP")]);
                }
            }
        }
    }

    #[test]
    fn the_limit_can_be_raised() {
        let (mut splitter, mut buffer) = (Splitter::client(), BytesMut::new());
        let long = [&vec![b'a'; LINE_MAX - 2][..], b"\r\n"].concat();
        for (max, line) in [(LINE_BEFORE_LOGON_MAX, Line::TooLong), (LINE_MAX, whole(&long[..LINE_MAX - 2]))] {
            splitter.set_line_max(max);
            buffer.extend_from_slice(&long);
            assert_eq!(splitter.take(&mut buffer), Ok(Some(line)));
        }
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let error = Some(Error::new("line without an end", SKIP_MAX));
        for (end, expected) in [
            (SKIP_MAX, (vec![Line::TooLong, whole(b"NOOP")], None, 0)),
            (SKIP_MAX + 1, (vec![], error, 0)),
            (2 * SKIP_MAX, (vec![], error, 0)),
        ] {
            let wire = [&vec![b'a'; end - 1][..], b"\nNOOP\n"].concat();
            for size in [1, 999, 3 * SKIP_MAX] {
                assert_eq!(split(Splitter::client(), wire.chunks(size)), expected, "{end} in pieces of {size}");
            }
        }
        let (mut splitter, mut buffer) = (Splitter::host(), BytesMut::from(&vec![b'a'; SKIP_MAX][..]));
        assert_eq!(splitter.take(&mut buffer).err(), error);
        buffer.extend_from_slice(b"221 Bye\r\n");
        assert_eq!(splitter.take(&mut buffer).err(), error);
    }

    #[test]
    fn telnet_alone_fills_no_buffer() {
        let nops = b"\xFF\xF1".repeat(SKIP_MAX);
        assert_eq!(split(Splitter::client(), nops.chunks(999)), (vec![], None, 0));
        // Within a line it counts.
        let line = [&b"NOOP"[..], &nops[..LINE_BEFORE_LOGON_MAX], b"\r\n"].concat();
        assert_eq!(split(Splitter::client(), line.chunks(999)), (vec![Line::TooLong], None, 0));
    }

    #[test]
    fn an_emptied_buffer_keeps_no_memory() {
        let (mut splitter, mut buffer) = (Splitter::client(), BytesMut::with_capacity(4096));
        buffer.extend_from_slice(b"FEAT\r\nNOOP\r\n\xFF\xF1");
        assert!(splitter.take(&mut buffer).unwrap().is_some());
        assert!(splitter.take(&mut buffer).unwrap().is_some());
        assert!(buffer.capacity() > 0);
        assert_eq!(splitter.take(&mut buffer), Ok(None));
        assert_eq!(buffer.capacity(), 0);
        buffer.extend_from_slice(b"NOOP\r\n");
        assert!(splitter.take(&mut buffer).unwrap().is_some());
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn debug_shows_no_bytes() {
        let lines = split(Splitter::client(), [&b"PASS secret\r\n"[..]]).0;
        assert_eq!(format!("{lines:?}"), "[Whole(11 bytes)]");
    }

    /// Bytes with more than their share of those that mean something here.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            2 => any::<u8>(), 3 => Just(IAC), 2 => 0xEB..=0xFE_u8, 2 => Just(LF), 1 => Just(CR), 3 => Just(b'a'), 1 => Just(0)
        ];
        vec(byte, 0..200)
    }

    proptest! {
        #[test]
        fn how_the_input_is_cut_changes_nothing(
            bytes in bytes(), sizes in vec(1..9_usize, 200), line_max in 0..40_usize, is_client in any::<bool>(),
        ) {
            let side = if is_client { Side::Client } else { Side::Host };
            let mut rest = &bytes[..];
            let mut pieces = Vec::new();
            for size in sizes {
                let (piece, behind) = rest.split_at(size.min(rest.len()));
                pieces.push(piece);
                rest = behind;
            }
            let at_once = split(Splitter::new(side, line_max), [&bytes[..]]);
            prop_assert_eq!(split(Splitter::new(side, line_max), pieces), at_once);
        }

        #[test]
        fn what_is_written_is_taken(contents in vec(vec(any::<u8>().prop_filter("an end", |byte| *byte != LF), 0..50), 0..8)) {
            let mut wire = Vec::new();
            for content in &contents {
                double_into(content, &mut wire);
                wire.extend_from_slice(END);
            }
            let expected: Vec<_> = contents.iter().map(|content| whole(content)).collect();
            prop_assert_eq!(split(Splitter::client(), [&wire[..]]), (expected, None, 0));
        }
    }
}
