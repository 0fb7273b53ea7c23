//! The header of a record, and the start-up record that names the virtual device.
//!
//! Sources: RFC 1205 §3 (header, flags, opcodes), RFC 4777 §10 (start-up record) and §11 (printer records).
//!
//! Invariants: `parse` accepts a record only if its length field is its length, and `write` gives the same bytes back;
//! `Debug` shows no data.

use core::fmt;

use nom::bytes::complete::{tag, take};
use nom::combinator::{rest, verify};
use nom::error::context;
use nom::number::complete::{be_u16, u8};
use nom::{IResult, Parser};

use crate::Error;
use crate::ebcdic::CodePage;
use crate::error::{Stop, whole};

/// Bytes of a header without extras.
pub const HEADER: usize = 10;

/// The most bytes of data that a record can carry: its length is 16 bits and counts the header too.
pub const DATA_MAX: usize = 65_535 - HEADER;

/// The flags of byte 7.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// A negative response: the data is a sense code.
    pub const ERR: Self = Self(0x80);
    /// The Attention key.
    pub const ATN: Self = Self(0x40);
    /// The System Request key.
    pub const SRQ: Self = Self(0x04);
    /// The Test Request key.
    pub const TRQ: Self = Self(0x02);
    /// The Help key in an error state.
    pub const HLP: Self = Self(0x01);

    /// Whether all flags of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no flag is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({:#04x})", self.0)
    }
}

/// The opcode of byte 9.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Opcode(pub u8);

impl Opcode {
    /// No operation.
    pub const NO_OPERATION: Self = Self(0x00);
    /// Invite: the terminal may send.
    pub const INVITE: Self = Self(0x01);
    /// Output only.
    pub const OUTPUT_ONLY: Self = Self(0x02);
    /// Put and get: output, and the terminal may send.
    pub const PUT_GET: Self = Self(0x03);
    /// Save screen.
    pub const SAVE_SCREEN: Self = Self(0x04);
    /// Restore screen.
    pub const RESTORE_SCREEN: Self = Self(0x05);
    /// Read immediate.
    pub const READ_IMMEDIATE: Self = Self(0x06);
    /// Read screen.
    pub const READ_SCREEN: Self = Self(0x08);
    /// Cancel invite, and its acknowledgement.
    pub const CANCEL_INVITE: Self = Self(0x0A);
    /// Message light on.
    pub const MESSAGE_LIGHT_ON: Self = Self(0x0B);
    /// Message light off.
    pub const MESSAGE_LIGHT_OFF: Self = Self(0x0C);
}

impl fmt::Debug for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opcode({:#04x})", self.0)
    }
}

/// A record: header and data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Bytes 4 and 5: 0000 for a display, 9000 start-up, 0101 and 0102 for a printer.
    pub reserved: u16,
    /// Byte 7.
    pub flags: Flags,
    /// Byte 8; IBM's own client sets 80 in all it sends.
    pub flags2: u8,
    /// Byte 9. Hosts and clients differ in what they put here: look at flags and data first.
    pub opcode: Opcode,
    /// What the variable header holds beyond its usual four bytes.
    pub extra: &'a [u8],
    /// What follows the header.
    pub data: &'a [u8],
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("reserved", &self.reserved)
            .field("flags", &self.flags)
            .field("flags2", &self.flags2)
            .field("opcode", &self.opcode)
            .field("data_length", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// Parses the content of a record, as [`unescape`](crate::telnet::unescape) gives it.
///
/// # Errors
/// The content is shorter than its header, has another length than it says, or is no TN5250 record.
pub fn parse(content: &[u8]) -> Result<Record<'_>, Error> {
    let length = content.len();
    let head = |input| -> IResult<&[u8], Record<'_>, Stop> {
        let (input, _) =
            context("length of the record", verify(be_u16, |ll| usize::from(*ll) == length)).parse(input)?;
        let (input, _) = context("no 12A0", tag(&[0x12, 0xA0][..])).parse(input)?;
        let (input, reserved) = be_u16(input)?;
        let (input, variable) = context("length of the variable header", verify(u8, |n| *n >= 4)).parse(input)?;
        let (input, (flags, flags2, opcode)) = (u8, u8, u8).parse(input)?;
        let (input, extra) = context("variable header cut off", take(variable.saturating_sub(4))).parse(input)?;
        let (input, data) = rest(input)?;
        Ok((input, Record { reserved, flags: Flags(flags), flags2, opcode: Opcode(opcode), extra, data }))
    };
    whole(content, head)
}

impl Record<'_> {
    /// The content for [`write_record`](crate::telnet::write_record). What no record can hold ([`DATA_MAX`], and 251
    /// extra bytes of header) is left out; it cannot come from [`parse`].
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let extra = self.extra.get(..251).unwrap_or(self.extra);
        let variable = u8::try_from(extra.len()).unwrap_or(0).saturating_add(4);
        let head = HEADER.saturating_add(extra.len());
        let data = self.data.get(..DATA_MAX.saturating_sub(extra.len())).unwrap_or(self.data);
        let length = head.saturating_add(data.len());
        let mut content = Vec::with_capacity(length);
        content.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        content.extend_from_slice(&[0x12, 0xA0]);
        content.extend_from_slice(&self.reserved.to_be_bytes());
        content.extend_from_slice(&[variable, self.flags.0, self.flags2, self.opcode.0]);
        content.extend_from_slice(extra);
        content.extend_from_slice(data);
        content
    }

    /// Whether this is the start-up record (RFC 4777 §10).
    #[must_use]
    pub const fn is_startup(&self) -> bool {
        self.reserved >> 8 == 0x90
    }

    /// Whether this is printer data or an answer to it (RFC 4777 §11).
    #[must_use]
    pub const fn is_printer(&self) -> bool {
        matches!(self.reserved, 0x0101 | 0x0102)
    }
}

/// What the start-up record says: whether the virtual device could be had, on which system, and which (RFC 4777 §10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// The response code: I901, I902 and I906 are success.
    pub code: String,
    /// The host's system name.
    pub system: String,
    /// The virtual device, empty when there is none.
    pub device: String,
}

/// What stands between header and code, as real hosts send it. Its variable header has one byte more than displays'.
const STARTUP_HEAD: [u8; 5] = [0xC0, 0x00, 0x3D, 0x00, 0x00];

/// Bytes after the device name.
const STARTUP_TAIL: usize = 35;

/// Reads a start-up record.
#[must_use]
pub fn startup(record: &Record<'_>) -> Option<Startup> {
    if !record.is_startup() {
        return None;
    }
    let text = |from: usize, to: usize| {
        let text = CodePage::CP037.decode_all(record.data.get(from..to)?);
        Some(text.trim_matches([' ', '\0']).to_owned())
    };
    Some(Startup { code: text(5, 9)?, system: text(9, 17)?, device: text(17, 27)? })
}

impl Startup {
    /// Whether it says that an automatic sign-on was refused: `8936`, a security failure, `8937`, the sign-on itself, or which of
    /// user and password it was, `0002` to `0008` (RFC 4777, section 10).
    #[must_use]
    pub fn is_of_the_sign_on(&self) -> bool {
        matches!(self.code.as_str(), "8936" | "8937" | "0002" | "0003" | "0004" | "0005" | "0006" | "0007" | "0008")
    }

    /// Whether the session goes on.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self.code.as_str(), "I901" | "I902" | "I906")
    }

    /// The content for [`write_record`](crate::telnet::write_record). Texts that are too long are cut.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut data = STARTUP_HEAD.to_vec();
        for (text, width) in [(&self.code, 4), (&self.system, 8), (&self.device, 10)] {
            let mut field = CodePage::CP037.encode_all(text);
            field.resize(width, 0x40);
            data.extend_from_slice(&field);
        }
        data.resize(data.len().saturating_add(STARTUP_TAIL), 0);
        let (flags, flags2, opcode) = (Flags(0x60), 0x06, Opcode::NO_OPERATION);
        Record { reserved: 0x9000, flags, flags2, opcode, extra: &[0x20], data: &data }.write()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::telnet::unescape;
    use crate::traces::streams;

    #[test]
    fn headers() {
        let query = b"\x00\x11\x12\xA0\x00\x00\x04\x00\x00\x03\x04\xF3\x00\x05\xD9\x70\x00";
        let record = parse(query).unwrap();
        let data = &b"\x04\xF3\x00\x05\xD9\x70\x00"[..];
        let (flags, flags2, opcode) = (Flags::NONE, 0, Opcode::PUT_GET);
        assert_eq!(record, Record { reserved: 0, flags, flags2, opcode, extra: b"", data });
        assert_eq!(record.write(), query);
        assert!(!record.is_startup() && !record.is_printer() && record.flags.is_empty());

        let request = parse(b"\x00\x0C\x12\xA0\x00\x00\x04\x04\x80\x00\xF9\xF0").unwrap();
        assert!(request.flags.has(Flags::SRQ) && !request.flags.has(Flags::ATN));
        assert_eq!((request.flags2, request.data), (0x80, &b"\xF9\xF0"[..]));

        let printed = parse(b"\x00\x11\x12\xA0\x01\x01\x0A\x08\x00\x01\x00\x00\x00\x00\x00\x00\x00").unwrap();
        assert!(printed.is_printer());
        assert_eq!((printed.extra.len(), printed.data.len()), (6, 1));
    }

    #[test]
    fn what_is_no_record_is_refused_with_its_place() {
        for (content, error) in [
            (&b""[..], Error::new("length of the record", 0)),
            (b"\x00", Error::new("length of the record", 0)),
            (b"\x00\x0B\x12\xA0\x00\x00\x04\x00\x00\x03", Error::new("length of the record", 0)),
            (b"\x00\x0A\x12\xA1\x00\x00\x04\x00\x00\x03", Error::new("no 12A0", 2)),
            (b"\x00\x0A\x12\xA0\x00\x00\x03\x00\x00\x03", Error::new("length of the variable header", 6)),
            (b"\x00\x0A\x12\xA0\x00\x00\x05\x00\x00\x03", Error::new("variable header cut off", 10)),
            (b"\x00\x06\x12\xA0\x00\x00", Error::new("length of the variable header", 6)),
            (b"\x00\x08\x12\xA0\x00\x00\x04\x00", Error::new("unexpected end", 8)),
            (b"\x11\x00\x00\x01\xFF\xFF\x02", Error::new("length of the record", 0)),
        ] {
            assert_eq!(parse(content), Err(error), "{content:02x?}");
        }
    }

    #[test]
    fn start_up_records() {
        let ok = Startup { code: "I902".into(), system: "PUB400".into(), device: "QPADEV001Q".into() };
        let content = ok.write();
        assert_eq!(content.len(), 73);
        assert_eq!(content[..20], *b"\x00\x49\x12\xA0\x90\x00\x05\x60\x06\x00\x20\xC0\x00\x3D\x00\x00\xC9\xF9\xF0\xF2");
        let record = parse(&content).unwrap();
        assert!(record.is_startup() && ok.is_success());
        assert_eq!(startup(&record), Some(ok));

        let busy = Startup { code: "8902".into(), system: "RS035".into(), device: String::new() };
        let mut content = busy.write();
        assert_eq!(startup(&parse(&content).unwrap()), Some(busy.clone()));
        assert!(!busy.is_success());
        content[28..38].fill(0);
        assert_eq!(startup(&parse(&content).unwrap()), Some(busy));

        let short = b"\x00\x0B\x12\xA0\x90\x00\x05\x60\x06\x00\x20";
        assert_eq!(startup(&parse(short).unwrap()), None);
    }

    #[test]
    fn nothing_too_long_is_written() {
        let (flags, flags2, opcode) = (Flags::NONE, 0, Opcode::PUT_GET);
        let (extra, data) = (&[1; 300][..], &[2; 70_000][..]);
        let content = Record { reserved: 0, flags, flags2, opcode, extra, data }.write();
        assert_eq!(content.len(), 65_535);
        assert_eq!(parse(&content).unwrap().extra.len(), 251);
    }

    #[test]
    fn debug_shows_no_data() {
        let shown = format!("{:?}", parse(b"\x00\x0D\x12\xA0\x00\x00\x04\x00\x00\x03abc").unwrap());
        assert!(shown.contains("data_length: 3") && !shown.contains("97"), "{shown}");
    }

    #[test]
    fn recorded_records_are_written_back_byte_for_byte() {
        for stream in streams().iter().filter(|stream| stream.is_5250) {
            for (wire, content) in stream.records() {
                let record = parse(&content).unwrap_or_else(|error| panic!("{}: {error}", stream.name));
                assert_eq!(record.write(), content, "{}", stream.name);
                assert_eq!(unescape(&wire), content, "{}", stream.name);
                if let Some(startup) = startup(&record) {
                    assert!(!startup.system.is_empty(), "{}", stream.name);
                    assert_eq!(startup.is_success(), startup.code.starts_with('I'), "{}", stream.name);
                    if startup.is_success() {
                        assert_eq!(startup.write(), content, "{}", stream.name);
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn parse_and_write_are_inverse(
            reserved: u16, flags: u8, flags2: u8, opcode: u8, extra in vec(any::<u8>(), 0..=251),
            data in vec(any::<u8>(), 0..600),
        ) {
            let (flags, opcode) = (Flags(flags), Opcode(opcode));
            let record = Record { reserved, flags, flags2, opcode, extra: &extra, data: &data };
            let content = record.write();
            prop_assert_eq!(parse(&content), Ok(record));
        }

        #[test]
        fn whatever_parses_is_written_back(mut content in vec(any::<u8>(), 10..80), kind in 0..3_u8) {
            let length = u8::try_from(content.len()).unwrap();
            content[..4].copy_from_slice(&[0, length, 0x12, 0xA0]);
            if kind > 0 {
                content[6] = 4 + content[6] % 8;
            }
            if let Ok(record) = parse(&content) {
                prop_assert_eq!(record.write(), &content[..]);
                let _ = startup(&record);
            }
        }
    }
}
