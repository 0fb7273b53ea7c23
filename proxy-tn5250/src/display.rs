//! The 5250 display data stream that a host sends, as a flat list of commands and orders.
//!
//! Source: RFC 1205 §5 and the chapter on the display data stream of IBM's 5494 Functions Reference (SC30-3533),
//! sections 15.6 (orders) and 15.27 (structured fields).
//!
//! ```text
//! data    = { 04 command operands [ orders and text, after WRITE TO DISPLAY and WRITE ERROR CODE ] }
//! orders  = 01 SOH  02 RA  03 EA  10 TD  11 SBA  12 WEA  13 IC  14 MC  15 WDSF  1D SF
//! text    = every byte that is no order and not 04 or FF; 20-3F are attributes, which take a cell each
//! ```
//!
//! - Operands are walked by their lengths. Nothing here searches for `04`: operands may contain it.
//! - What is not known is an [`Error`] with its place, never skipped: after it nobody can tell what the bytes mean.
//! - [`Tokens`] borrows from the data and allocates nothing. [`parse`] and [`write()`] are inverse.
//! - `Debug` of a [`Token`] shows lengths and places, never text: host data may hold what nobody else should see.

use core::fmt;

use nom::Parser as _;
use nom::bytes::complete::take;
use nom::error::{ErrorKind, ParseError};
use nom::number::complete::{be_u16, u8};

use crate::error::Error;

#[cfg(test)]
pub(crate) mod tests;

/// ESC, which introduces each command.
pub const ESC: u8 = 0x04;
/// The class of all 5250 structured fields.
pub const CLASS: u8 = 0xD9;
/// The structured field QUERY.
pub const QUERY: u8 = 0x70;
/// The structured field QUERY STATION STATE.
pub const QUERY_STATION_STATE: u8 = 0x72;
/// The most bytes that START OF HEADER may have.
pub const HEADER_MAX: usize = 7;

/// One command, one order, or one run of text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Token<'a> {
    /// `04 40`: clears the display and the format table; the size is 24x80 after it.
    ClearUnit,
    /// `04 20`: the same, with the size 27x132 (`00`) or the size as it was (`80`).
    ClearUnitAlternate(u8),
    /// `04 50`: clears the format table, the text stays.
    ClearFormatTable,
    /// `04 11`: orders and text follow.
    WriteToDisplay {
        /// What happens to MDT bits and field contents before, [`crate::screen`] knows how.
        cc1: u8,
        /// What happens to keyboard, cursor, alarm and message light after.
        cc2: u8,
    },
    /// `04 21`: text for the error line follows; locks the keyboard.
    WriteErrorCode,
    /// `04 22`: the same, for an error line inside a window.
    WriteErrorCodeToWindow {
        /// First column.
        start: u8,
        /// Last column.
        end: u8,
    },
    /// `04 02`: the client answers with an image of its own making.
    SaveScreen,
    /// `04 03`: flag, top row, left column, depth, width.
    SavePartialScreen([u8; 5]),
    /// `04 12`: what a client saved, to the end of the record.
    RestoreScreen(&'a [u8]),
    /// `04 13`: likewise.
    RestorePartialScreen(&'a [u8]),
    /// `04 16`: printer and lines per page.
    CopyToPrinter([u8; 2]),
    /// `04 23`: moves rows.
    Roll {
        /// `80` down, otherwise up; the low five bits are the number of rows.
        direction: u8,
        /// First row that takes part.
        top: u8,
        /// Last row that takes part.
        bottom: u8,
    },
    /// `04 42`: on an AID, all input fields, if any has its MDT bit set.
    ReadInputFields {
        /// As in [`Token::WriteToDisplay`].
        cc1: u8,
        /// As in [`Token::WriteToDisplay`].
        cc2: u8,
    },
    /// `04 52`: on an AID, the fields with MDT bit.
    ReadMdtFields {
        /// As in [`Token::WriteToDisplay`].
        cc1: u8,
        /// As in [`Token::WriteToDisplay`].
        cc2: u8,
    },
    /// `04 82`: the same, nulls kept.
    ReadMdtAlternate {
        /// As in [`Token::WriteToDisplay`].
        cc1: u8,
        /// As in [`Token::WriteToDisplay`].
        cc2: u8,
    },
    /// `04 62`: the cells, at once.
    ReadScreen,
    /// `04 64`: the cells and the extended attributes, at once.
    ReadScreenExtended,
    /// `04 66`, `68`, `6A`, `6C`: the same for printing; the byte is the command.
    ReadScreenToPrint(u8),
    /// `04 72`: the input fields, at once.
    ReadImmediate,
    /// `04 83`: the fields with MDT bit, at once.
    ReadModifiedImmediateAlternate,
    /// `04 F3` with its first field.
    WriteStructuredField {
        /// The byte after the class, [`QUERY`] for instance.
        kind: u8,
        /// What follows it.
        body: &'a [u8],
    },
    /// A further field of the same `04 F3`.
    NextStructuredField {
        /// The byte after the class.
        kind: u8,
        /// What follows it.
        body: &'a [u8],
    },
    /// `04 F4`: image and video controls; further commands may follow.
    WriteSingleStructuredField {
        /// The byte after the class.
        kind: u8,
        /// What follows it.
        body: &'a [u8],
    },
    /// `01` SOH: clears the format table; at most [`HEADER_MAX`] bytes: flags, reserved, resequencing, error row,
    /// three bytes of function keys that send no fields.
    StartOfHeader(&'a [u8]),
    /// `02` RA: fills from here to the address, which is included.
    RepeatToAddress {
        /// Row, from 1.
        row: u8,
        /// Column, from 1.
        column: u8,
        /// What each cell becomes.
        byte: u8,
    },
    /// `03` EA: nulls from here to the address, which is included.
    EraseToAddress {
        /// Row, from 1.
        row: u8,
        /// Column, from 1.
        column: u8,
        /// Which planes: `00` characters, `01`, `03`, `05` extended attributes, `FF` all.
        kinds: &'a [u8],
    },
    /// `10` TD: bytes for cells, whatever they are.
    TransparentData(&'a [u8]),
    /// `11` SBA. Row 1, column 0 is where a field starts whose first data cell is row 1, column 1.
    SetBufferAddress {
        /// Row, from 1.
        row: u8,
        /// Column, from 1.
        column: u8,
    },
    /// `12` WEA.
    WriteExtendedAttribute {
        /// `01` primary, `03` colour, `05` ideographic.
        kind: u8,
        /// The attribute.
        value: u8,
    },
    /// `13` IC: where the cursor goes when the keyboard is unlocked, and on Home.
    InsertCursor {
        /// Row, from 1.
        row: u8,
        /// Column, from 1.
        column: u8,
    },
    /// `14` MC: where the cursor goes, this time only.
    MoveCursor {
        /// Row, from 1.
        row: u8,
        /// Column, from 1.
        column: u8,
    },
    /// `15` WDSF: windows, selection fields, scroll bars, grid lines.
    WriteDisplayStructuredField {
        /// The byte after the class, `51` CREATE WINDOW for instance.
        kind: u8,
        /// What follows it.
        body: &'a [u8],
    },
    /// `1D` SF: an attribute cell, and with a field format word an entry of the format table.
    StartField {
        /// Field format word; `None` for an output field.
        ffw: Option<u16>,
        /// Field control words, two bytes each; empty for an output field.
        fcws: &'a [u8],
        /// The attribute, `20`-`3F`.
        attribute: u8,
        /// Number of data cells.
        length: u16,
    },
    /// Characters and attributes, one cell each.
    Text(&'a [u8]),
}

impl Token<'_> {
    /// Whether the whole display is cleared.
    #[must_use]
    pub const fn clears_screen(&self) -> bool {
        matches!(self, Self::ClearUnit | Self::ClearUnitAlternate(_))
    }

    /// Whether this changes what the operator sees or may key. Only reads, saves and queries do not.
    #[must_use]
    pub const fn draws(&self) -> bool {
        !matches!(
            self,
            Self::SaveScreen
                | Self::SavePartialScreen(_)
                | Self::ReadInputFields { .. }
                | Self::ReadMdtFields { .. }
                | Self::ReadMdtAlternate { .. }
                | Self::ReadScreen
                | Self::ReadScreenExtended
                | Self::ReadScreenToPrint(_)
                | Self::ReadImmediate
                | Self::ReadModifiedImmediateAlternate
                | Self::WriteStructuredField { kind: QUERY | QUERY_STATION_STATE, .. }
                | Self::NextStructuredField { kind: QUERY | QUERY_STATION_STATE, .. }
        )
    }

    /// Whether the client has to answer, at once or when the operator presses a key.
    #[must_use]
    pub const fn asks_answer(&self) -> bool {
        !self.draws()
    }

    /// The name, as in IBM's manuals.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ClearUnit => "CLEAR UNIT",
            Self::ClearUnitAlternate(_) => "CLEAR UNIT ALTERNATE",
            Self::ClearFormatTable => "CLEAR FORMAT TABLE",
            Self::WriteToDisplay { .. } => "WRITE TO DISPLAY",
            Self::WriteErrorCode => "WRITE ERROR CODE",
            Self::WriteErrorCodeToWindow { .. } => "WRITE ERROR CODE TO WINDOW",
            Self::SaveScreen => "SAVE SCREEN",
            Self::SavePartialScreen(_) => "SAVE PARTIAL SCREEN",
            Self::RestoreScreen(_) => "RESTORE SCREEN",
            Self::RestorePartialScreen(_) => "RESTORE PARTIAL SCREEN",
            Self::CopyToPrinter(_) => "COPY TO PRINTER",
            Self::Roll { .. } => "ROLL",
            Self::ReadInputFields { .. } => "READ INPUT FIELDS",
            Self::ReadMdtFields { .. } => "READ MDT FIELDS",
            Self::ReadMdtAlternate { .. } => "READ MDT ALTERNATE",
            Self::ReadScreen => "READ SCREEN",
            Self::ReadScreenExtended => "READ SCREEN WITH EXTENDED ATTRIBUTES",
            Self::ReadScreenToPrint(_) => "READ SCREEN TO PRINT",
            Self::ReadImmediate => "READ IMMEDIATE",
            Self::ReadModifiedImmediateAlternate => "READ MODIFIED IMMEDIATE ALTERNATE",
            Self::WriteStructuredField { .. } | Self::NextStructuredField { .. } => "WRITE STRUCTURED FIELD",
            Self::WriteSingleStructuredField { .. } => "WRITE SINGLE STRUCTURED FIELD",
            Self::StartOfHeader(_) => "SOH",
            Self::RepeatToAddress { .. } => "RA",
            Self::EraseToAddress { .. } => "EA",
            Self::TransparentData(_) => "TD",
            Self::SetBufferAddress { .. } => "SBA",
            Self::WriteExtendedAttribute { .. } => "WEA",
            Self::InsertCursor { .. } => "IC",
            Self::MoveCursor { .. } => "MC",
            Self::WriteDisplayStructuredField { .. } => "WDSF",
            Self::StartField { .. } => "SF",
            Self::Text(_) => "text",
        }
    }

    /// What this is in numbers that tell nothing of the contents: row and column, or a kind, or a length.
    const fn numbers(&self) -> (Option<(u8, u8)>, Option<u8>, Option<usize>) {
        match *self {
            Self::ClearUnit
            | Self::ClearFormatTable
            | Self::WriteErrorCode
            | Self::SaveScreen
            | Self::SavePartialScreen(_)
            | Self::CopyToPrinter(_)
            | Self::ReadScreen
            | Self::ReadScreenExtended
            | Self::ReadImmediate
            | Self::ReadModifiedImmediateAlternate => (None, None, None),
            Self::ClearUnitAlternate(size) => (None, Some(size), None),
            Self::ReadScreenToPrint(command) => (None, Some(command), None),
            Self::WriteToDisplay { cc1, cc2 }
            | Self::ReadInputFields { cc1, cc2 }
            | Self::ReadMdtFields { cc1, cc2 }
            | Self::ReadMdtAlternate { cc1, cc2 } => (Some((cc1, cc2)), None, None),
            Self::WriteErrorCodeToWindow { start, end } => (Some((start, end)), None, None),
            Self::Roll { direction, top, bottom } => (Some((top, bottom)), Some(direction), None),
            Self::RestoreScreen(bytes)
            | Self::RestorePartialScreen(bytes)
            | Self::StartOfHeader(bytes)
            | Self::TransparentData(bytes)
            | Self::Text(bytes) => (None, None, Some(bytes.len())),
            Self::WriteStructuredField { kind, body }
            | Self::NextStructuredField { kind, body }
            | Self::WriteSingleStructuredField { kind, body }
            | Self::WriteDisplayStructuredField { kind, body } => (None, Some(kind), Some(body.len())),
            Self::RepeatToAddress { row, column, .. }
            | Self::EraseToAddress { row, column, .. }
            | Self::SetBufferAddress { row, column }
            | Self::InsertCursor { row, column }
            | Self::MoveCursor { row, column } => (Some((row, column)), None, None),
            Self::WriteExtendedAttribute { kind, .. } => (None, Some(kind), None),
            Self::StartField { attribute, length, .. } => (None, Some(attribute), Some(length as usize)),
        }
    }

    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        match *self {
            Self::ClearUnit => out.extend([ESC, 0x40]),
            Self::ClearUnitAlternate(size) => out.extend([ESC, 0x20, size]),
            Self::ClearFormatTable => out.extend([ESC, 0x50]),
            Self::WriteToDisplay { cc1, cc2 } => out.extend([ESC, 0x11, cc1, cc2]),
            Self::WriteErrorCode => out.extend([ESC, 0x21]),
            Self::WriteErrorCodeToWindow { start, end } => out.extend([ESC, 0x22, start, end]),
            Self::SaveScreen => out.extend([ESC, 0x02]),
            Self::SavePartialScreen(area) => {
                out.extend([ESC, 0x03]);
                out.extend(area);
            }
            Self::RestoreScreen(blob) => {
                out.extend([ESC, 0x12]);
                out.extend(blob);
            }
            Self::RestorePartialScreen(blob) => {
                out.extend([ESC, 0x13]);
                out.extend(blob);
            }
            Self::CopyToPrinter([printer, lines]) => out.extend([ESC, 0x16, printer, lines]),
            Self::Roll { direction, top, bottom } => out.extend([ESC, 0x23, direction, top, bottom]),
            Self::ReadInputFields { cc1, cc2 } => out.extend([ESC, 0x42, cc1, cc2]),
            Self::ReadMdtFields { cc1, cc2 } => out.extend([ESC, 0x52, cc1, cc2]),
            Self::ReadMdtAlternate { cc1, cc2 } => out.extend([ESC, 0x82, cc1, cc2]),
            Self::ReadScreen => out.extend([ESC, 0x62]),
            Self::ReadScreenExtended => out.extend([ESC, 0x64]),
            Self::ReadScreenToPrint(command) => out.extend([ESC, command]),
            Self::ReadImmediate => out.extend([ESC, 0x72]),
            Self::ReadModifiedImmediateAlternate => out.extend([ESC, 0x83]),
            Self::WriteStructuredField { kind, body } => {
                out.extend([ESC, 0xF3]);
                write_field(kind, body, out);
            }
            Self::NextStructuredField { kind, body } => write_field(kind, body, out),
            Self::WriteSingleStructuredField { kind, body } => {
                out.extend([ESC, 0xF4]);
                write_field(kind, body, out);
            }
            Self::StartOfHeader(header) => {
                let header = header.get(..HEADER_MAX).unwrap_or(header);
                out.extend([0x01, low_byte(header.len())]);
                out.extend(header);
            }
            Self::RepeatToAddress { row, column, byte } => out.extend([0x02, row, column, byte]),
            Self::EraseToAddress { row, column, kinds } => {
                let kinds = kinds.get(..0xFE).unwrap_or(kinds);
                out.extend([0x03, row, column, low_byte(kinds.len().saturating_add(1))]);
                out.extend(kinds);
            }
            Self::TransparentData(bytes) => {
                let bytes = bytes.get(..0xFFFF).unwrap_or(bytes);
                out.push(0x10);
                out.extend(low_word(bytes.len()).to_be_bytes());
                out.extend(bytes);
            }
            Self::SetBufferAddress { row, column } => out.extend([0x11, row, column]),
            Self::WriteExtendedAttribute { kind, value } => out.extend([0x12, kind, value]),
            Self::InsertCursor { row, column } => out.extend([0x13, row, column]),
            Self::MoveCursor { row, column } => out.extend([0x14, row, column]),
            Self::WriteDisplayStructuredField { kind, body } => {
                out.push(0x15);
                write_field(kind, body, out);
            }
            Self::StartField { ffw, fcws, attribute, length } => {
                out.push(0x1D);
                if let Some(ffw) = ffw {
                    out.extend(ffw.to_be_bytes());
                    out.extend(fcws);
                }
                out.push(attribute);
                out.extend(length.to_be_bytes());
            }
            Self::Text(bytes) => out.extend(bytes),
        }
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let (place, kind, length) = self.numbers();
        if let Some(kind) = kind {
            write!(f, " {kind:02X}")?;
        }
        if let Some((first, second)) = place {
            write!(f, " {first},{second}")?;
        }
        if let Some(length) = length {
            write!(f, " [{length}]")?;
        }
        Ok(())
    }
}

/// The tokens of one record's data, one after the other; ends after the first error.
#[derive(Clone)]
pub struct Tokens<'a> {
    rest: &'a [u8],
    length: usize,
    mode: Mode,
}

/// What may stand at this place besides a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing.
    Commands,
    /// Orders and text.
    Orders,
    /// A further structured field.
    Fields,
}

impl<'a> Tokens<'a> {
    /// The tokens of `data`, which is a record's content after its header.
    #[must_use]
    pub const fn new(data: &'a [u8]) -> Self {
        Self { rest: data, length: data.len(), mode: Mode::Commands }
    }

    /// How many bytes are behind the tokens given so far.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.length.saturating_sub(self.rest.len())
    }

    fn take(&mut self) -> Result<Token<'a>, Error> {
        let (first, after) = match self.rest {
            [first, after @ ..] => (*first, after),
            [] => return Err(self.error("nothing")),
        };
        if self.mode == Mode::Fields {
            if let Some((rest, token)) = next_field(self.rest) {
                self.rest = rest;
                return Ok(token);
            }
        } else if self.mode == Mode::Orders && first != ESC {
            let run = text_length(self.rest);
            if let Some((text, rest)) = self.rest.split_at_checked(run).filter(|_| run > 0) {
                self.rest = rest;
                return Ok(Token::Text(text));
            }
            return order(first, after)
                .map(|(rest, token)| self.advance(rest, token))
                .map_err(|fault| self.fault(fault));
        }
        let [ESC, command_byte, operands @ ..] = self.rest else {
            return Err(self.error(if first == ESC { "ESC without a command" } else { "data without a command" }));
        };
        let (rest, token) = command(*command_byte, operands).map_err(|fault| self.fault(fault))?;
        self.mode = match command_byte {
            0x11 | 0x21 | 0x22 => Mode::Orders,
            0xF3 => Mode::Fields,
            _ => Mode::Commands,
        };
        Ok(self.advance(rest, token))
    }

    const fn advance(&mut self, rest: &'a [u8], token: Token<'a>) -> Token<'a> {
        self.rest = rest;
        token
    }

    const fn error(&self, what: &'static str) -> Error {
        Error { what, offset: self.offset() }
    }

    fn fault(&self, fault: nom::Err<Fault>) -> Error {
        match fault {
            nom::Err::Error(fault) | nom::Err::Failure(fault) => {
                Error { what: fault.what, offset: self.length.saturating_sub(fault.left) }
            }
            nom::Err::Incomplete(_) => self.error(SHORT),
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Result<Token<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let token = self.take();
        if token.is_err() {
            self.rest = &[];
        }
        Some(token)
    }
}

impl core::iter::FusedIterator for Tokens<'_> {}

impl fmt::Debug for Tokens<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} of {})", self.offset(), self.length)
    }
}

/// All tokens of `data`.
///
/// # Errors
///
/// The first place that is no command or order, or lacks operands.
pub fn parse(data: &[u8]) -> Result<Vec<Token<'_>>, Error> {
    Tokens::new(data).collect()
}

/// The bytes of `tokens`.
///
/// What does not fit the format is cut off at the format's own bound: a header at [`HEADER_MAX`] bytes, an operand with
/// a length at what the length can say.
#[must_use]
pub fn write(tokens: &[Token<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for token in tokens {
        token.write_to(&mut out);
    }
    out
}

/// Whether `byte` takes a cell when it stands between orders.
#[must_use]
pub const fn is_text(byte: u8) -> bool {
    !matches!(byte, 0x01..=0x04 | 0x10..=0x15 | 0x1D | 0xFF)
}

/// Whether `byte` is a display attribute.
#[must_use]
pub const fn is_attribute(byte: u8) -> bool {
    byte & 0xE0 == 0x20
}

const SHORT: &str = "truncated operands";

/// A parser's error: what and how many bytes were left, never the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fault {
    what: &'static str,
    left: usize,
}

impl Fault {
    const fn error(what: &'static str, left: usize) -> nom::Err<Self> {
        nom::Err::Error(Self { what, left })
    }
}

impl ParseError<&[u8]> for Fault {
    fn from_error_kind(input: &[u8], _: ErrorKind) -> Self {
        Self { what: SHORT, left: input.len() }
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

type Parsed<'a, T> = nom::IResult<&'a [u8], T, Fault>;

fn command(command: u8, operands: &[u8]) -> Parsed<'_, Token<'_>> {
    let none = |token| Ok((operands, token));
    match command {
        0x02 => none(Token::SaveScreen),
        0x03 => (u8, u8, u8, u8, u8)
            .map(|(flag, top, left, depth, width)| Token::SavePartialScreen([flag, top, left, depth, width]))
            .parse_complete(operands),
        0x11 => pair(operands, |cc1, cc2| Token::WriteToDisplay { cc1, cc2 }),
        0x12 => blob(operands, Token::RestoreScreen),
        0x13 => blob(operands, Token::RestorePartialScreen),
        0x16 => pair(operands, |printer, lines| Token::CopyToPrinter([printer, lines])),
        0x20 => u8.map(Token::ClearUnitAlternate).parse_complete(operands),
        0x21 => none(Token::WriteErrorCode),
        0x22 => pair(operands, |start, end| Token::WriteErrorCodeToWindow { start, end }),
        0x23 => {
            (u8, u8, u8).map(|(direction, top, bottom)| Token::Roll { direction, top, bottom }).parse_complete(operands)
        }
        0x40 => none(Token::ClearUnit),
        0x42 => pair(operands, |cc1, cc2| Token::ReadInputFields { cc1, cc2 }),
        0x50 => none(Token::ClearFormatTable),
        0x52 => pair(operands, |cc1, cc2| Token::ReadMdtFields { cc1, cc2 }),
        0x62 => none(Token::ReadScreen),
        0x64 => none(Token::ReadScreenExtended),
        0x66 | 0x68 | 0x6A | 0x6C => none(Token::ReadScreenToPrint(command)),
        0x72 => none(Token::ReadImmediate),
        0x82 => pair(operands, |cc1, cc2| Token::ReadMdtAlternate { cc1, cc2 }),
        0x83 => none(Token::ReadModifiedImmediateAlternate),
        0xF3 => structured_field(operands, |kind, body| Token::WriteStructuredField { kind, body }),
        0xF4 => structured_field(operands, |kind, body| Token::WriteSingleStructuredField { kind, body }),
        _ => Err(Fault::error("unknown command", operands.len().saturating_add(1))),
    }
}

fn order(order: u8, operands: &[u8]) -> Parsed<'_, Token<'_>> {
    match order {
        0x01 => {
            let (rest, length) = u8(operands)?;
            if usize::from(length) > HEADER_MAX {
                return Err(Fault::error("header length", operands.len()));
            }
            take(length).map(Token::StartOfHeader).parse_complete(rest)
        }
        0x02 => (u8, u8, u8)
            .map(|(row, column, byte)| Token::RepeatToAddress { row, column, byte })
            .parse_complete(operands),
        0x03 => {
            let (rest, (row, column, length)) = (u8, u8, u8).parse_complete(operands)?;
            let Some(length) = length.checked_sub(1) else {
                return Err(Fault::error("erase length", rest.len()));
            };
            take(length).map(|kinds| Token::EraseToAddress { row, column, kinds }).parse_complete(rest)
        }
        0x10 => {
            let (rest, length) = be_u16(operands)?;
            take(length).map(Token::TransparentData).parse_complete(rest)
        }
        0x11 => pair(operands, |row, column| Token::SetBufferAddress { row, column }),
        0x12 => pair(operands, |kind, value| Token::WriteExtendedAttribute { kind, value }),
        0x13 => pair(operands, |row, column| Token::InsertCursor { row, column }),
        0x14 => pair(operands, |row, column| Token::MoveCursor { row, column }),
        0x15 => structured_field(operands, |kind, body| Token::WriteDisplayStructuredField { kind, body }),
        0x1D => start_field(operands),
        _ => Err(Fault::error("unknown order", operands.len().saturating_add(1))),
    }
}

fn pair<'a>(operands: &'a [u8], token: impl Fn(u8, u8) -> Token<'a>) -> Parsed<'a, Token<'a>> {
    match operands {
        [first, second, rest @ ..] => Ok((rest, token(*first, *second))),
        _ => Err(Fault::error(SHORT, operands.len())),
    }
}

fn blob<'a>(operands: &'a [u8], token: impl Fn(&'a [u8]) -> Token<'a>) -> Parsed<'a, Token<'a>> {
    let (blob, rest) = operands.split_at(operands.len());
    Ok((rest, token(blob)))
}

/// `LL D9 kind body`, where LL counts itself.
fn structured_field<'a>(operands: &'a [u8], token: impl Fn(u8, &'a [u8]) -> Token<'a>) -> Parsed<'a, Token<'a>> {
    let (rest, length) = be_u16(operands)?;
    let Some(length) = length.checked_sub(4) else {
        return Err(Fault::error("structured field length", operands.len()));
    };
    let (rest, class) = u8(rest)?;
    if class != CLASS {
        return Err(Fault::error("structured field class", rest.len().saturating_add(1)));
    }
    let (rest, kind) = u8(rest)?;
    let (rest, body) = take(length).parse_complete(rest)?;
    Ok((rest, token(kind, body)))
}

/// A further field of WRITE STRUCTURED FIELD, if these bytes are one.
///
/// IBM has the command end its record, but hosts are free to chain a READ: what does not have the class at its place and
/// a length that fits is left to be a command.
fn next_field(data: &[u8]) -> Option<(&[u8], Token<'_>)> {
    structured_field(data, |kind, body| Token::NextStructuredField { kind, body }).ok()
}

/// `[FFW] [FCW]* attribute length`.
fn start_field(operands: &[u8]) -> Parsed<'_, Token<'_>> {
    if let [attribute, high, low, rest @ ..] = operands
        && is_attribute(*attribute)
    {
        let length = u16::from_be_bytes([*high, *low]);
        return Ok((rest, Token::StartField { ffw: None, fcws: &[], attribute: *attribute, length }));
    }
    let (rest, ffw) = be_u16(operands)?;
    if ffw & 0xC000 != 0x4000 {
        return Err(Fault::error("field format word", operands.len()));
    }
    let words = rest.chunks_exact(2).take_while(|word| matches!(word, [0x80..=0xBF, _])).count();
    let (rest, fcws) = take(words.saturating_mul(2)).parse_complete(rest)?;
    let (after, attribute) = u8(rest)?;
    if !is_attribute(attribute) {
        return Err(Fault::error("field attribute", rest.len()));
    }
    let (rest, length) = be_u16(after)?;
    Ok((rest, Token::StartField { ffw: Some(ffw), fcws, attribute, length }))
}

/// `LL D9 kind body`.
fn write_field(kind: u8, body: &[u8], out: &mut Vec<u8>) {
    let body = body.get(..0xFFFB).unwrap_or(body);
    out.extend(low_word(body.len().saturating_add(4)).to_be_bytes());
    out.extend([CLASS, kind]);
    out.extend(body);
}

fn low_byte(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

fn low_word(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// How many of the first bytes of `data` are text. Most is plain characters, so those are looked at in chunks.
fn text_length(data: &[u8]) -> usize {
    const CHUNK: usize = 16;
    let plain = |byte: &u8| byte.wrapping_sub(0x20) < 0xDF || *byte == 0;
    let chunks = data.chunks_exact(CHUNK).take_while(|chunk| chunk.iter().fold(true, |all, byte| all & plain(byte)));
    let skipped = chunks.count().saturating_mul(CHUNK);
    let rest = data.get(skipped..).unwrap_or_default();
    skipped.saturating_add(rest.iter().position(|byte| !is_text(*byte)).unwrap_or(rest.len()))
}
