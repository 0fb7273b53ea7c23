//! The telnet layer: cuts a byte stream into records, negotiations, subnegotiations and commands, and writes them.
//!
//! Sources: RFC 854 (commands), RFC 855 (subnegotiation), RFC 885 (end of record), RFC 1091 (terminal type), RFC 1205 §3
//! and RFC 4777 §3 (how TN5250 uses them).
//!
//! Invariants: how the input is cut into pieces changes nothing; what is taken is exactly what was received; every byte
//! is looked at once; nothing grows past [`RECORD_MAX`] and [`SUBNEGOTIATION_MAX`]; `Debug` shows lengths, not bytes.

use core::{fmt, mem};
use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use crate::Error;

mod terminal;

pub use terminal::{Mode, TerminalType, is_wide, mode_of, terminal_type};

/// The most wire bytes of one record with its IAC EOR: a record counts its length in 16 bits, and every byte of it may
/// be doubled. Commands inside a record come on top, up to [`SUBNEGOTIATION_MAX`] bytes of them per record.
pub const RECORD_MAX: usize = 2 * 65_535 + 2;

/// The most wire bytes of one subnegotiation: a Kerberos ticket of 16,384 bytes and 1,024 bytes of other variables
/// (RFC 4777 §3, §6), each byte escaped, and the bytes around them.
pub const SUBNEGOTIATION_MAX: usize = 2 * (16_384 + 1_024) + 64;

/// Interpret as command.
pub const IAC: u8 = 0xFF;
/// End of record, after IAC.
pub const EOR: u8 = 0xEF;
/// End of a subnegotiation, after IAC.
pub const SE: u8 = 0xF0;
/// Begin of a subnegotiation, after IAC.
pub const SB: u8 = 0xFA;

/// The lowest command that any standard defines (RFC 1184: end of file).
const FIRST_COMMAND: u8 = 0xEC;

/// Telnet options that a TN5250 session meets.
pub mod option {
    /// RFC 856.
    pub const BINARY: u8 = 0x00;
    /// RFC 857; VT sessions only.
    pub const ECHO: u8 = 0x01;
    /// RFC 858; VT sessions only.
    pub const SUPPRESS_GO_AHEAD: u8 = 0x03;
    /// RFC 860; the host's keep-alive.
    pub const TIMING_MARK: u8 = 0x06;
    /// RFC 1091.
    pub const TERMINAL_TYPE: u8 = 0x18;
    /// RFC 885.
    pub const END_OF_RECORD: u8 = 0x19;
    /// RFC 1572.
    pub const NEW_ENVIRON: u8 = 0x27;
    /// RFC 2355; IBM i never offers it.
    pub const TN3270E: u8 = 0x28;
}

/// What a negotiation says about its option (RFC 854).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// The sender wants to use the option, or agrees to.
    Will,
    /// The sender does not use the option.
    Wont,
    /// The sender asks the other side to use the option, or agrees.
    Do,
    /// The sender asks the other side not to use the option.
    Dont,
}

impl Verb {
    /// The verb that the byte after IAC means, if it means one.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0xFB => Some(Self::Will),
            0xFC => Some(Self::Wont),
            0xFD => Some(Self::Do),
            0xFE => Some(Self::Dont),
            _ => None,
        }
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Will => 0xFB,
            Self::Wont => 0xFC,
            Self::Do => 0xFD,
            Self::Dont => 0xFE,
        }
    }
}

/// What a frame is.
#[derive(Clone, PartialEq, Eq)]
pub enum Unit {
    /// Everything up to and with IAC EOR. `embedded`: telnet commands stand inside it, see [`embedded`].
    Record {
        /// Whether telnet commands stand inside the record.
        embedded: bool,
    },
    /// IAC WILL, WONT, DO or DONT and an option.
    Negotiation {
        /// What is said.
        verb: Verb,
        /// About which option.
        option: u8,
    },
    /// IAC SB … IAC SE.
    Subnegotiation {
        /// The option it belongs to.
        option: u8,
        /// What follows the option byte, IAC doubling undone.
        body: Bytes,
    },
    /// Any other command: NOP, break, are you there … Below EC it is nothing that a standard defines: GNU tn5250
    /// answers WONT and DONT with IAC, an undefined byte and the option. Such a frame is for dropping.
    Command(u8),
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record { embedded } => f.debug_struct("Record").field("embedded", embedded).finish(),
            Self::Negotiation { verb, option } => {
                f.debug_struct("Negotiation").field("verb", verb).field("option", option).finish()
            }
            Self::Subnegotiation { option, .. } => {
                f.debug_struct("Subnegotiation").field("option", option).finish_non_exhaustive()
            }
            Self::Command(command) => f.debug_tuple("Command").field(command).finish(),
        }
    }
}

/// One unit with the bytes it came in.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Exactly the bytes received; of a record with its IAC EOR and with whatever commands stand inside it.
    pub wire: Bytes,
    /// What they are.
    pub unit: Unit,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("length", &self.wire.len()).field("unit", &self.unit).finish()
    }
}

/// Cuts frames off a buffer. It remembers how far it has looked, so that a record that arrives in many pieces is
/// scanned once; one splitter belongs to one direction of one connection, and to one buffer.
#[derive(Debug, Default)]
pub struct Splitter {
    place: Place,
    /// Everything before this offset has been looked at.
    scanned: usize,
    /// How many of these bytes are commands inside a record.
    commands: usize,
}

/// What stands at the offset up to which the splitter has looked.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The start of a frame.
    #[default]
    Start,
    /// The content of a record.
    Record,
    /// A subnegotiation inside a record that began at this offset.
    Embedded(usize),
    /// A subnegotiation between records.
    Subnegotiation,
}

impl Splitter {
    /// A splitter at the start of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self { place: Place::Start, scanned: 0, commands: 0 }
    }

    /// Takes one frame off the front of `buffer`, or nothing when no frame is complete yet.
    ///
    /// Bytes are appended to `buffer` between the calls and taken away by this function alone. When the frame is all
    /// that the buffer holds, the buffer's memory goes with it: an idle connection keeps none.
    ///
    /// # Errors
    /// The stream is not telnet or passes a limit. What follows has no meaning; later calls repeat the error.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Error> {
        let Some(end) = self.scan(buffer)? else { return Ok(None) };
        let Self { place, commands, .. } = mem::take(self);
        let wire = if end >= buffer.len() { mem::take(buffer).freeze() } else { buffer.split_to(end).freeze() };
        let unit = match place {
            Place::Record | Place::Embedded(_) => Unit::Record { embedded: commands > 0 },
            Place::Subnegotiation => subnegotiation(&wire),
            Place::Start => match *wire {
                [_, EOR] => Unit::Record { embedded: false },
                [_, verb, option] => match Verb::from_byte(verb) {
                    Some(verb) => Unit::Negotiation { verb, option },
                    None => Unit::Command(verb),
                },
                [_, command, ..] => Unit::Command(command),
                [] | [_] => return Err(Error::new("command cut off", wire.len())),
            },
        };
        Ok(Some(Frame { wire, unit }))
    }

    /// Looks on from where it stopped; the offset behind the frame if it is complete.
    fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        loop {
            let ahead = bytes.get(self.scanned..).unwrap_or_default();
            if self.place == Place::Start {
                match *ahead {
                    [] | [IAC] => return Ok(None),
                    [IAC, EOR, ..] => return Ok(Some(2)),
                    [IAC, SB, ..] => {
                        self.place = Place::Subnegotiation;
                        self.scanned = 2;
                    }
                    [IAC, command, ..] if command != IAC => return Ok(command_length(ahead)),
                    [_, ..] => self.place = Place::Record,
                }
                continue;
            }
            let Some(found) = memchr(IAC, ahead) else {
                self.scanned = bytes.len();
                return self.within_limits(self.scanned).map(|()| None);
            };
            let at = self.scanned.saturating_add(found);
            self.scanned = at;
            self.within_limits(at)?;
            let ahead = bytes.get(at..).unwrap_or_default();
            let Some(second) = ahead.get(1).copied() else { return Ok(None) };
            let behind = at.saturating_add(2);
            match (self.place, second) {
                (_, IAC) => self.scanned = behind,
                (Place::Subnegotiation, SE) if at < 3 => {
                    return Err(Error::new("subnegotiation without an option", at));
                }
                (Place::Subnegotiation, SE) | (Place::Record, EOR) => {
                    self.scanned = behind;
                    return self.within_limits(behind).map(|()| Some(behind));
                }
                (Place::Embedded(from), SE) => {
                    self.scanned = behind;
                    self.within_limits(behind)?;
                    self.commands = self.commands.saturating_add(behind.saturating_sub(from));
                    self.place = Place::Record;
                }
                (Place::Subnegotiation | Place::Embedded(_), _) => {
                    return Err(Error::new("command inside a subnegotiation", at));
                }
                (Place::Record, SB) => {
                    self.place = Place::Embedded(at);
                    self.scanned = behind;
                }
                (Place::Start | Place::Record, _) => {
                    let Some(length) = command_length(ahead) else { return Ok(None) };
                    self.commands = self.commands.saturating_add(length);
                    self.scanned = at.saturating_add(length);
                    self.within_limits(self.scanned)?;
                }
            }
        }
    }

    /// Whether a frame that reaches to `offset` is still within the limits.
    fn within_limits(&self, offset: usize) -> Result<(), Error> {
        let (content, commands) = match self.place {
            Place::Start | Place::Record => (offset.saturating_sub(self.commands), self.commands),
            Place::Embedded(from) => (0, self.commands.saturating_add(offset.saturating_sub(from))),
            Place::Subnegotiation => (0, offset),
        };
        if content > RECORD_MAX {
            Err(Error::new("record over the limit", RECORD_MAX))
        } else if commands > SUBNEGOTIATION_MAX {
            Err(Error::new("subnegotiation over the limit", SUBNEGOTIATION_MAX))
        } else {
            Ok(())
        }
    }
}

/// How long the command is that starts with the IAC at the front of `ahead`; nothing if more bytes are needed to tell.
/// Not for subnegotiations, doubled IACs and ends of records.
fn command_length(ahead: &[u8]) -> Option<usize> {
    match *ahead {
        [IAC, second, ..] if second >= FIRST_COMMAND && Verb::from_byte(second).is_none() => Some(2),
        [IAC, second, IAC, ..] if Verb::from_byte(second).is_none() => Some(2),
        [IAC, _, _, ..] => Some(3),
        _ => None,
    }
}

/// The unit of a subnegotiation that has an option.
fn subnegotiation(wire: &Bytes) -> Unit {
    let inner = wire.slice(2..wire.len().saturating_sub(2).max(2));
    let mut body = match undouble(&inner) {
        Cow::Borrowed(_) => inner,
        Cow::Owned(plain) => plain.into(),
    };
    let option = body.split_to(body.len().min(1)).first().copied().unwrap_or_default();
    Unit::Subnegotiation { option, body }
}

fn undouble(escaped: &[u8]) -> Cow<'_, [u8]> {
    if memchr(IAC, escaped).is_none() {
        return Cow::Borrowed(escaped);
    }
    let mut plain = Vec::with_capacity(escaped.len());
    for piece in Pieces(escaped) {
        if let Piece::Content(content) = piece {
            plain.extend_from_slice(content);
        }
    }
    Cow::Owned(plain)
}

/// The content of a record (RFC 1205 §3): IAC doubling undone, commands inside it and the final IAC EOR left out.
/// Borrowed when there is nothing to undo, which is nearly always.
#[must_use]
pub fn unescape(wire: &[u8]) -> Cow<'_, [u8]> {
    undouble(wire.strip_suffix(&[IAC, EOR]).filter(|content| memchr(IAC, content).is_none()).unwrap_or(wire))
}

/// The telnet commands that stand inside a record, as they were on the wire and in order.
#[must_use]
pub fn embedded(wire: &[u8]) -> Vec<Bytes> {
    Pieces(wire)
        .filter_map(|piece| match piece {
            Piece::Command(command) => Some(Bytes::copy_from_slice(command)),
            Piece::Content(_) => None,
        })
        .collect()
}

/// Walks over the wire bytes of a record up to its IAC EOR.
struct Pieces<'a>(&'a [u8]);

enum Piece<'a> {
    Content(&'a [u8]),
    Command(&'a [u8]),
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let plain = memchr(IAC, self.0).unwrap_or(self.0.len());
        let (content, rest) = self.0.split_at_checked(plain)?;
        match *rest {
            [] | [_] if content.is_empty() => {
                self.0 = &[];
                None
            }
            [_, IAC, ref behind @ ..] => {
                // The first IAC of the pair is the content's.
                let content = self.0.get(..=plain)?;
                self.0 = behind;
                Some(Piece::Content(content))
            }
            _ if !content.is_empty() => {
                self.0 = rest;
                Some(Piece::Content(content))
            }
            [_, EOR, ..] => None,
            [_, SB, ..] => {
                let length = subnegotiation_length(rest);
                self.take_command(length)
            }
            _ => self.take_command(command_length(rest).unwrap_or(rest.len())),
        }
    }
}

impl<'a> Pieces<'a> {
    fn take_command(&mut self, length: usize) -> Option<Piece<'a>> {
        let (command, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Piece::Command(command))
    }
}

/// The length of the subnegotiation at the front of `bytes`, to its IAC SE or else to the end.
fn subnegotiation_length(bytes: &[u8]) -> usize {
    let mut from = 2_usize;
    while let Some(found) = bytes.get(from..).and_then(|ahead| memchr(IAC, ahead)) {
        let at = from.saturating_add(found);
        from = at.saturating_add(2);
        if bytes.get(at.saturating_add(1)) == Some(&SE) {
            return from;
        }
    }
    bytes.len()
}

/// A record for the wire: every IAC of `content` doubled, IAC EOR behind it.
#[must_use]
pub fn write_record(content: &[u8]) -> Bytes {
    let mut wire = Vec::with_capacity(content.len().saturating_add(2));
    double_into(content, &mut wire);
    wire.extend_from_slice(&[IAC, EOR]);
    wire.into()
}

/// A negotiation for the wire.
#[must_use]
pub fn write_negotiation(verb: Verb, option: u8) -> Bytes {
    Bytes::copy_from_slice(&[IAC, verb.byte(), option])
}

/// A subnegotiation for the wire: every IAC of `body` doubled.
#[must_use]
pub fn write_subnegotiation(option: u8, body: &[u8]) -> Bytes {
    let mut wire = Vec::with_capacity(body.len().saturating_add(5));
    wire.extend_from_slice(&[IAC, SB]);
    double_into(&[option], &mut wire);
    double_into(body, &mut wire);
    wire.extend_from_slice(&[IAC, SE]);
    wire.into()
}

fn double_into(mut plain: &[u8], wire: &mut Vec<u8>) {
    while let Some((content, rest)) = memchr(IAC, plain).and_then(|at| plain.split_at_checked(at.saturating_add(1))) {
        wire.extend_from_slice(content);
        wire.push(IAC);
        plain = rest;
    }
    wire.extend_from_slice(plain);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::traces::streams;

    /// What comes out when the pieces go in one after the other: frames, and the error that ended it.
    fn split<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<Error>, usize) {
        let (mut splitter, mut buffer, mut frames) = (Splitter::new(), BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match splitter.take(&mut buffer) {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error), buffer.len()),
                }
            }
        }
        (frames, None, buffer.len())
    }

    #[test]
    fn units() {
        let record = |embedded| Unit::Record { embedded };
        let subnegotiation = |option, body| Unit::Subnegotiation { option, body: Bytes::from_static(body) };
        for (wire, unit) in [
            (&b"\xFF\xFD\x27"[..], Unit::Negotiation { verb: Verb::Do, option: option::NEW_ENVIRON }),
            (b"\xFF\xFB\xFF", Unit::Negotiation { verb: Verb::Will, option: 0xFF }),
            (b"\xFF\xFC\x06", Unit::Negotiation { verb: Verb::Wont, option: option::TIMING_MARK }),
            (b"\xFF\xFE\x28", Unit::Negotiation { verb: Verb::Dont, option: option::TN3270E }),
            (b"\xFF\xFA\x18\x01\xFF\xF0", subnegotiation(0x18, b"\x01")),
            (b"\xFF\xFA\x27\xFF\xF0", subnegotiation(0x27, b"")),
            (b"\xFF\xFA\x27a\xFF\xFFb\xFF\xF0", subnegotiation(0x27, b"a\xFFb")),
            (b"\xFF\xFA\x27a\xFF\xFF\xF0b\xFF\xF0", subnegotiation(0x27, b"a\xFF\xF0b")),
            (b"\xFF\xFA\xFF\xFFa\xFF\xF0", subnegotiation(0xFF, b"a")),
            (b"\xFF\xF1", Unit::Command(0xF1)),
            (b"\xFF\xF0", Unit::Command(0xF0)),
            (b"\xFF\x00\x2A", Unit::Command(0x00)),
            (b"\xFF\x48\x2A", Unit::Command(0x48)),
            (b"\xFF\x48", Unit::Command(0x48)),
            (b"\xFF\xEF", record(false)),
            (b"abc\xFF\xEF", record(false)),
            (b"\xFF\xFFa\xFF\xEF", record(false)),
            (b"a\xFF\xFFb\xFF\xFF\xFF\xEF", record(false)),
            (b"a\xFF\xF1b\xFF\xEF", record(true)),
            (b"a\xFF\xFD\x06\xFF\xEF", record(true)),
            (b"a\xFF\xFA\x18\xEF\xFF\xF0b\xFF\xEF", record(true)),
        ] {
            let (frames, error, left) = split([wire, b"\xFF\xF1"]);
            assert_eq!((error, left, frames.len()), (None, 0, 2), "{wire:02x?}");
            assert_eq!((&frames[0].wire[..], &frames[0].unit), (wire, &unit), "{wire:02x?}");
        }
    }

    #[test]
    fn what_is_no_telnet_is_refused_with_its_place() {
        for (wire, error) in [
            (&b"\xFF\xFA\xFF\xF0"[..], Error::new("subnegotiation without an option", 2)),
            (b"\xFF\xFA\x27ab\xFF\xF1", Error::new("command inside a subnegotiation", 5)),
            (b"\xFF\xFA\x27ab\xFF\xEF", Error::new("command inside a subnegotiation", 5)),
            (b"ab\xFF\xFA\x27\xFF\xFA", Error::new("command inside a subnegotiation", 5)),
        ] {
            assert_eq!(split([wire]).1, Some(error), "{wire:02x?}");
        }
    }

    #[test]
    fn the_longest_record_passes_and_one_byte_more_does_not() {
        let longest = write_record(&[IAC; 65_535]);
        assert_eq!(longest.len(), RECORD_MAX);
        assert_eq!(split([&longest[..]]).0.len(), 1);
        let with_command = [&b"\xFF\xF1"[..], &longest].concat();
        assert_eq!(split([&with_command[..]]).0.len(), 2);
        let inside = [&b"a\xFF\xF1"[..], &longest[2..]].concat();
        assert_eq!(
            split([&inside[..]]).0,
            [Frame { wire: inside.clone().into(), unit: Unit::Record { embedded: true } }]
        );

        let over = Some(Error::new("record over the limit", RECORD_MAX));
        let too_long = [&b"a"[..], &longest].concat();
        assert_eq!(split([&too_long[..]]).1, over);
        assert_eq!(split(too_long.chunks(1000)).1, over);
        assert_eq!(split([&vec![0x40; RECORD_MAX][..]]).1, None);
        assert_eq!(split([&vec![0x40; RECORD_MAX + 1][..]]).1, over);
    }

    #[test]
    fn a_subnegotiation_without_end_is_refused() {
        let over = Some(Error::new("subnegotiation over the limit", SUBNEGOTIATION_MAX));
        let ticket = write_subnegotiation(option::NEW_ENVIRON, &[b'a'; SUBNEGOTIATION_MAX - 5]);
        assert_eq!(ticket.len(), SUBNEGOTIATION_MAX);
        assert_eq!(split([&ticket[..]]).0.len(), 1);
        let endless = [&b"\xFF\xFA\x27"[..], &[b'a'; 3 * SUBNEGOTIATION_MAX]].concat();
        assert_eq!(split([&endless[..]]).1, over);
        let (_, error, held) = split(endless.chunks(100));
        assert_eq!(error, over);
        assert!(held <= SUBNEGOTIATION_MAX + 100);

        let inside = [b"record", &endless[..]].concat();
        assert_eq!(split([&inside[..]]).1, over);
        let many = [b"record".to_vec(), b"\xFF\xF1".repeat(SUBNEGOTIATION_MAX)].concat();
        assert_eq!(split([&many[..]]).1, over);
        assert_eq!(split(many.chunks(7)).1, over);
    }

    #[test]
    fn an_emptied_buffer_keeps_no_memory() {
        let (mut splitter, mut buffer) = (Splitter::new(), BytesMut::with_capacity(4096));
        buffer.extend_from_slice(b"abc\xFF\xEF\xFF\xF1");
        assert!(splitter.take(&mut buffer).unwrap().is_some());
        assert!(buffer.capacity() > 0);
        assert!(splitter.take(&mut buffer).unwrap().is_some());
        assert_eq!(buffer.capacity(), 0);
        assert_eq!(splitter.take(&mut buffer), Ok(None));
    }

    #[test]
    fn content_of_records() {
        let borrowed = unescape(b"abc\xFF\xEF");
        assert!(matches!(borrowed, Cow::Borrowed(b"abc")));
        for (wire, content, commands) in [
            (&b"\xFF\xEF"[..], &b""[..], &[][..]),
            (b"\xFF\xFF\xFF\xEF", b"\xFF", &[]),
            (b"a\xFF\xFFb\xFF\xFF\xFF\xEF", b"a\xFFb\xFF", &[]),
            (b"a\xFF\xFF\xEF\xFF\xEF", b"a\xFF\xEF", &[]),
            (b"a\xFF\xF1b\xFF\xEF", b"ab", &[&b"\xFF\xF1"[..]]),
            (b"a\xFF\xFD\xFF\xFFb\xFF\xEF", b"a", &[b"\xFF\xFD\xFF", b"\xFFb"]),
            (b"a\xFF\xFA\x18\xFF\xFF\xF0\xFF\xF0b\xFF\xEF", b"ab", &[b"\xFF\xFA\x18\xFF\xFF\xF0\xFF\xF0"]),
            (b"\xFF\xFFa\xFF\xFD\x06\xFF\xF9\xFF\xEF", b"\xFFa", &[b"\xFF\xFD\x06", b"\xFF\xF9"]),
            (b"cut off\xFF", b"cut off", &[]),
            (b"cut off\xFF\xFA\x18", b"cut off", &[b"\xFF\xFA\x18"]),
            (b"cut off\xFF\xFD", b"cut off", &[b"\xFF\xFD"]),
        ] {
            assert_eq!(*unescape(wire), *content, "{wire:02x?}");
            assert_eq!(embedded(wire), commands, "{wire:02x?}");
        }
    }

    #[test]
    fn debug_shows_no_bytes() {
        let (frames, ..) = split([&b"\xFF\xFA\x27secret\xFF\xF0secret\xFF\xEF"[..]]);
        let shown = format!("{frames:?}");
        assert_eq!(
            shown,
            "[Frame { length: 11, unit: Subnegotiation { option: 39, .. } }, \
             Frame { length: 8, unit: Record { embedded: false } }]"
        );
    }

    #[test]
    fn recorded_sessions_are_written_back_byte_for_byte() {
        for stream in streams() {
            let bytes = stream.bytes();
            let (frames, error, left) = split(stream.pieces.iter().map(Vec::as_slice));
            assert_eq!(error, None, "{}", stream.name);
            let wires: Vec<&[u8]> = frames.iter().map(|frame| &frame.wire[..]).collect();
            assert_eq!(wires.concat(), bytes[..bytes.len() - left], "{}", stream.name);
            assert!(left == 0 || !stream.is_5250, "{}: {left} bytes left", stream.name);
            assert_eq!(split(bytes.chunks(1)), (frames.clone(), None, left), "{}", stream.name);
            for frame in frames {
                let written = match &frame.unit {
                    Unit::Record { embedded } => {
                        assert!(!embedded, "{}", stream.name);
                        write_record(&unescape(&frame.wire))
                    }
                    Unit::Negotiation { verb, option } => write_negotiation(*verb, *option),
                    Unit::Subnegotiation { option: option::TERMINAL_TYPE, body } => {
                        write_subnegotiation(option::TERMINAL_TYPE, &terminal_type(body).unwrap().write())
                    }
                    Unit::Subnegotiation { option, body } => write_subnegotiation(*option, body),
                    Unit::Command(command) => panic!("{}: command {command:02x}", stream.name),
                };
                assert_eq!(written, frame.wire, "{}", stream.name);
            }
        }
    }

    /// Bytes with more than their share of those that mean something to telnet.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![2 => any::<u8>(), 3 => Just(IAC), 3 => 0xEC..=0xFE_u8, 1 => 0..4_u8], 0..200)
    }

    fn cuts() -> impl Strategy<Value = Vec<usize>> {
        vec(1..9_usize, 200)
    }

    fn cut<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        for size in sizes {
            let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces.push(bytes);
        pieces
    }

    fn unit() -> impl Strategy<Value = (Bytes, Option<Unit>)> {
        let verb = prop_oneof![Just(Verb::Will), Just(Verb::Wont), Just(Verb::Do), Just(Verb::Dont)];
        prop_oneof![
            bytes().prop_map(|content| (write_record(&content), None)),
            (verb, any::<u8>()).prop_map(|(verb, option)| {
                (write_negotiation(verb, option), Some(Unit::Negotiation { verb, option }))
            }),
            (any::<u8>(), bytes()).prop_map(|(option, body)| {
                let wire = write_subnegotiation(option, &body);
                (wire, Some(Unit::Subnegotiation { option, body: body.into() }))
            }),
            (0xF0..=0xF9_u8)
                .prop_map(|command| { (Bytes::copy_from_slice(&[IAC, command]), Some(Unit::Command(command))) }),
        ]
    }

    proptest! {
        #[test]
        fn how_the_input_is_cut_changes_nothing(bytes in bytes(), sizes in cuts()) {
            let (frames, error, left) = split([&bytes[..]]);
            let (cut_frames, cut_error, cut_left) = split(cut(&bytes, &sizes));
            prop_assert_eq!((&frames, error), (&cut_frames, cut_error));
            if error.is_none() {
                prop_assert_eq!(left, cut_left);
                let wires: Vec<&[u8]> = frames.iter().map(|frame| &frame.wire[..]).collect();
                prop_assert_eq!(wires.concat(), &bytes[..bytes.len() - left]);
            }
        }

        #[test]
        fn what_is_written_is_taken(units in vec(unit(), 0..8), sizes in cuts()) {
            let stream: Vec<u8> = units.iter().flat_map(|(wire, _)| wire.to_vec()).collect();
            let (frames, error, left) = split(cut(&stream, &sizes));
            prop_assert_eq!((error, left), (None, 0));
            let expected: Vec<Frame> = units
                .into_iter()
                .map(|(wire, unit)| Frame { wire, unit: unit.unwrap_or(Unit::Record { embedded: false }) })
                .collect();
            prop_assert_eq!(frames, expected);
        }

        #[test]
        fn content_survives_escaping(content in bytes()) {
            let wire = write_record(&content);
            prop_assert_eq!(&*unescape(&wire), &content[..]);
            prop_assert_eq!(embedded(&wire), Vec::<Bytes>::new());
        }

        #[test]
        fn a_record_is_its_content_and_what_stands_inside(bytes in bytes()) {
            for frame in split([&bytes[..]]).0 {
                if let Unit::Record { embedded: inside } = frame.unit {
                    let commands = embedded(&frame.wire);
                    prop_assert_eq!(inside, !commands.is_empty());
                    let doubled = write_record(&unescape(&frame.wire)).len();
                    prop_assert_eq!(doubled + commands.iter().map(Bytes::len).sum::<usize>(), frame.wire.len());
                } else {
                    let _ = (unescape(&frame.wire), embedded(&frame.wire));
                }
            }
            let _ = (unescape(&bytes), embedded(&bytes));
        }
    }
}
