//! What a display sends to the host: a cursor address, an AID, and what the operator keyed or what was asked for.
//!
//! Sources: RFC 1205 §5.3 (reads, Query Reply); IBM's 5494 Functions Reference, SC30-3533 (AIDs, read commands).
//!
//! Invariants: `parse` and `write` are inverse; `Debug` shows no data, since passwords are in it.

use core::fmt;

use crate::Error;
use crate::ebcdic::CodePage;

/// Set Buffer Address, in front of each field of the READ MDT form.
const SET_BUFFER_ADDRESS: u8 = 0x11;

/// The key, or other cause, that made the display send.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Aid(pub u8);

impl Aid {
    /// No key: answer to a READ IMMEDIATE.
    pub const NONE: Self = Self(0x00);
    /// Enter.
    pub const ENTER: Self = Self(0xF1);
    /// Help.
    pub const HELP: Self = Self(0xF3);
    /// Roll down, also Page Up.
    pub const ROLL_DOWN: Self = Self(0xF4);
    /// Roll up, also Page Down.
    pub const ROLL_UP: Self = Self(0xF5);
    /// Print.
    pub const PRINT: Self = Self(0xF6);
    /// Record backspace, also Home at home.
    pub const RECORD_BACKSPACE: Self = Self(0xF8);
    /// Clear.
    pub const CLEAR: Self = Self(0xBD);
    /// Roll left.
    pub const ROLL_LEFT: Self = Self(0xD9);
    /// Roll right.
    pub const ROLL_RIGHT: Self = Self(0xDA);
    /// Auto enter of the selector light pen.
    pub const LIGHT_PEN: Self = Self(0x3F);
    /// Auto enter of a forward edge trigger.
    pub const FORWARD_EDGE: Self = Self(0x50);
    /// Program attention 1.
    pub const PA1: Self = Self(0x6C);
    /// Program attention 2.
    pub const PA2: Self = Self(0x6E);
    /// Program attention 3.
    pub const PA3: Self = Self(0x6B);
    /// Inbound write structured field: a Query Reply and other answers without an operator.
    pub const INBOUND_STRUCTURED_FIELD: Self = Self(0x88);
    /// Answer to a pass-through structured field.
    pub const PASS_THROUGH: Self = Self(0xFF);
    /// F1.
    pub const F1: Self = Self(0x31);
    /// F3, by custom Exit.
    pub const F3: Self = Self(0x33);
    /// F5, by custom Refresh.
    pub const F5: Self = Self(0x35);
    /// F6, by custom Create or another view.
    pub const F6: Self = Self(0x36);
    /// F9, by custom Retrieve.
    pub const F9: Self = Self(0x39);
    /// F12, by custom Cancel.
    pub const F12: Self = Self(0x3C);
    /// F24.
    pub const F24: Self = Self(0xBC);

    /// The AID of a function key, 1 to 24.
    #[must_use]
    pub const fn function_key(number: u8) -> Option<Self> {
        match number {
            1..=12 => Some(Self(0x30_u8.saturating_add(number))),
            13..=24 => Some(Self(0xA4_u8.saturating_add(number))),
            _ => None,
        }
    }

    /// The number of the function key, if it is one.
    #[must_use]
    pub const fn is_function_key(self) -> Option<u8> {
        match self.0 {
            0x31..=0x3C => Some(self.0.saturating_sub(0x30)),
            0xB1..=0xBC => Some(self.0.saturating_sub(0xA4)),
            _ => None,
        }
    }

    /// Its name, if it has one. Pointing devices and selection fields can send AIDs that the application made up.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        const KEYS: [&str; 24] = [
            "F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F9", "F10", "F11", "F12", "F13", "F14", "F15", "F16",
            "F17", "F18", "F19", "F20", "F21", "F22", "F23", "F24",
        ];
        if let Some(number) = self.is_function_key() {
            let (_, keys) = KEYS.split_at((number as usize).saturating_sub(1));
            return match keys {
                [name, ..] => Some(name),
                [] => None,
            };
        }
        Some(match self {
            Self::NONE => "none",
            Self::ENTER => "Enter",
            Self::HELP => "Help",
            Self::ROLL_DOWN => "RollDown",
            Self::ROLL_UP => "RollUp",
            Self::PRINT => "Print",
            Self::RECORD_BACKSPACE => "RecordBackspace",
            Self::CLEAR => "Clear",
            Self::ROLL_LEFT => "RollLeft",
            Self::ROLL_RIGHT => "RollRight",
            Self::LIGHT_PEN => "LightPen",
            Self::FORWARD_EDGE => "ForwardEdge",
            Self::PA1 => "PA1",
            Self::PA2 => "PA2",
            Self::PA3 => "PA3",
            Self::INBOUND_STRUCTURED_FIELD => "StructuredField",
            Self::PASS_THROUGH => "PassThrough",
            Self(0x80..=0x83) => "Image",
            Self(_) => return None,
        })
    }
}

impl fmt::Debug for Aid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aid({:#04x}", self.0)?;
        match self.name() {
            Some(name) => write!(f, " {name})"),
            None => f.write_str(")"),
        }
    }
}

/// An input record's data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Input<'a> {
    /// Row of the cursor, from 1.
    pub row: u8,
    /// Column of the cursor, from 1.
    pub column: u8,
    /// What made the display send.
    pub aid: Aid,
    /// The fields, in the form that the pending read asks for.
    pub body: &'a [u8],
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("row", &self.row)
            .field("column", &self.column)
            .field("aid", &self.aid)
            .finish_non_exhaustive()
    }
}

/// The data of one field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FieldData<'a> {
    /// Row of the field's first data cell.
    pub row: u8,
    /// Column of the field's first data cell.
    pub column: u8,
    /// What was keyed. Clients differ in what they leave off at the end: blanks, nulls or neither.
    pub data: &'a [u8],
}

impl fmt::Debug for FieldData<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FieldData").field("row", &self.row).field("column", &self.column).finish_non_exhaustive()
    }
}

/// Parses the data of a display's record without flags.
///
/// What answers a SAVE SCREEN has another form, see [`is_save_reply`]; so has what answers a READ SCREEN.
///
/// # Errors
/// The data is shorter than a cursor address and an AID.
pub fn parse(data: &[u8]) -> Result<Input<'_>, Error> {
    match *data {
        [row, column, aid, ref body @ ..] => Ok(Input { row, column, aid: Aid(aid), body }),
        _ => Err(Error::new("no cursor address and AID", data.len())),
    }
}

impl<'a> Input<'a> {
    /// The data for the record.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.body.len().saturating_add(3));
        data.extend_from_slice(&[self.row, self.column, self.aid.0]);
        data.extend_from_slice(self.body);
        data
    }

    /// The fields of the READ MDT form: address and data of each field that was changed.
    ///
    /// Field data ends where the next address begins. Only in a transparent field can the byte that begins an address
    /// be data: for such a field, and for no other, `transparent` gives the length, by the address of its first data
    /// cell; a client sends such a field whole.
    ///
    /// # Errors
    /// The body does not begin with an address, or ends within one.
    pub fn modified(&self, transparent: impl Fn(u8, u8) -> Option<usize>) -> Result<Vec<FieldData<'a>>, Error> {
        let mut fields = Vec::new();
        let mut rest = self.body;
        while let [first, address @ ..] = rest {
            let place = |rest: &[u8]| self.body.len().saturating_sub(rest.len()).saturating_add(3);
            if *first != SET_BUFFER_ADDRESS {
                return Err(Error::new("no field address", place(rest)));
            }
            let [row, column, data @ ..] = address else {
                return Err(Error::new("field address cut off", place(rest)));
            };
            let whole = transparent(*row, *column)
                .and_then(|length| data.split_at_checked(length))
                .filter(|(_, behind)| behind.first().is_none_or(|byte| *byte == SET_BUFFER_ADDRESS));
            let next = memchr::memchr(SET_BUFFER_ADDRESS, data).unwrap_or(data.len());
            let (data, behind) = whole.or_else(|| data.split_at_checked(next)).unwrap_or((data, &[]));
            fields.push(FieldData { row: *row, column: *column, data });
            rest = behind;
        }
        Ok(fields)
    }
}

/// The body of the READ MDT form.
#[must_use]
pub fn write_modified(fields: &[FieldData<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for field in fields {
        body.extend_from_slice(&[SET_BUFFER_ADDRESS, field.row, field.column]);
        body.extend_from_slice(field.data);
    }
    body
}

/// The fields of the READ INPUT FIELDS and READ IMMEDIATE form: all input fields one after the other, each in its full
/// length as `lengths` has them in the order of the format table. No field was changed: no data, and no fields.
///
/// # Errors
/// The lengths do not add up to the body.
pub fn all_fields<'a>(body: &'a [u8], lengths: &[usize]) -> Result<Vec<&'a [u8]>, Error> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let mut rest = body;
    let mut fields = Vec::with_capacity(lengths.len());
    for length in lengths {
        let Some((field, behind)) = rest.split_at_checked(*length) else {
            return Err(Error::new("input fields cut off", body.len().saturating_add(3)));
        };
        fields.push(field);
        rest = behind;
    }
    if rest.is_empty() {
        Ok(fields)
    } else {
        Err(Error::new("more than the input fields", body.len().saturating_sub(rest.len()).saturating_add(3)))
    }
}

/// Whether this is the form of an answer to SAVE SCREEN or SAVE PARTIAL SCREEN: the RESTORE that brings the image back.
/// A cursor in row 4, column 18 or 19, looks the same, so ask only while the host waits for a saved screen.
#[must_use]
pub fn is_save_reply(data: &[u8]) -> bool {
    matches!(data, [0x04, 0x12 | 0x13, ..])
}

/// Whether this is a Query Reply.
#[must_use]
pub fn is_query_reply(data: &[u8]) -> bool {
    QueryReply::parse(data).is_ok()
}

/// The answer to a QUERY: what the display is and can do (RFC 1205 §5.3). What is not named here is kept as it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueryReply<'a> {
    /// Row of the cursor; 0 with most clients.
    pub row: u8,
    /// Column of the cursor; 0 with most clients.
    pub column: u8,
    /// The structured field's length as the client counts it: from its own two bytes on, as it should be, or from the
    /// cursor on, as tn5250j does.
    pub length: u16,
    /// What follows the structured field's length, class, type and flag byte, 80.
    pub body: &'a [u8],
}

/// Bytes before the body of a Query Reply, of which the structured field's length does not count three.
const QUERY_REPLY_HEAD: usize = 8;

/// The least body of a Query Reply: up to the bytes that tell its screen sizes.
const QUERY_REPLY_MIN: usize = 43;

impl<'a> QueryReply<'a> {
    /// Parses the data of a record.
    ///
    /// # Errors
    /// It is no Query Reply, or its length is not what it says.
    pub fn parse(data: &'a [u8]) -> Result<Self, Error> {
        match *data {
            [row, column, 0x88, high, low, 0xD9, 0x70, 0x80, ref body @ ..] => {
                let length = u16::from_be_bytes([high, low]);
                let counted = usize::from(length);
                if counted != data.len() && counted.checked_add(3) != Some(data.len()) {
                    return Err(Error::new("length of the Query Reply", 3));
                }
                if body.len() < QUERY_REPLY_MIN {
                    return Err(Error::new("Query Reply cut off", data.len()));
                }
                Ok(Self { row, column, length, body })
            }
            _ => Err(Error::new("no Query Reply", 0)),
        }
    }

    /// A reply of this body, cursor at 0, its length counted as it should be.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        let length = body.len().saturating_add(QUERY_REPLY_HEAD.saturating_sub(3));
        Self { row: 0, column: 0, length: u16::try_from(length).unwrap_or(u16::MAX), body }
    }

    /// The data for the record.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let [high, low] = self.length.to_be_bytes();
        let mut data = vec![self.row, self.column, Aid::INBOUND_STRUCTURED_FIELD.0, high, low, 0xD9, 0x70, 0x80];
        data.extend_from_slice(self.body);
        data
    }

    /// Machine type and model, as "3179" and "002".
    #[must_use]
    pub fn model(&self) -> (String, String) {
        let text = |from: usize, to: usize| {
            CodePage::CP037.decode_all(self.body.get(from..to).unwrap_or_default()).trim().to_owned()
        };
        (text(22, 26), text(26, 29))
    }

    /// Whether it can show 27 rows of 132 columns.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        self.body.get(42).is_some_and(|sizes| sizes >> 4 == 3)
    }

    /// Whether it takes double-byte data.
    #[must_use]
    pub fn is_double_byte(&self) -> bool {
        self.body.get(43).is_some_and(|byte| byte & 0x20 != 0)
    }

    /// The body of a plain emulator: a machine type of four characters and a model of three, one screen size or both,
    /// colour, no enhanced interface.
    #[must_use]
    pub fn emulator(machine: &str, model: &str, wide: bool) -> Vec<u8> {
        let mut body = vec![0x06, 0x00, 0x01, 0x01, 0x00];
        body.resize(21, 0);
        body.push(0x01);
        for (text, width) in [(machine, 4), (model, 3)] {
            let mut field = CodePage::CP037.encode_all(text);
            field.resize(width, 0xF0);
            body.extend_from_slice(&field);
        }
        // Keyboard; serial number 61 50 00; 256 input fields; no further features; both sizes or one, with colour.
        body.extend_from_slice(&[0x02, 0x00, 0x00, 0x00, 0x61, 0x50, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00]);
        body.push(if wide { 0x31 } else { 0x11 });
        body.resize(53, 0);
        body
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::record;
    use crate::traces::streams;

    /// No field is transparent.
    fn none(_: u8, _: u8) -> Option<usize> {
        None
    }

    #[test]
    fn keys() {
        for (aid, name) in [
            (Aid::ENTER, "Enter"),
            (Aid::F1, "F1"),
            (Aid::F12, "F12"),
            (Aid(0xB1), "F13"),
            (Aid::F24, "F24"),
            (Aid::ROLL_UP, "RollUp"),
            (Aid(0x82), "Image"),
        ] {
            assert_eq!(aid.name(), Some(name));
        }
        assert_eq!(Aid(0x70).name(), None);
        for number in 0..=u8::MAX {
            let aid = Aid::function_key(number);
            assert_eq!(aid.is_some(), (1..=24).contains(&number));
            assert_eq!(aid.and_then(Aid::is_function_key), aid.map(|_| number));
            assert_eq!(aid.and_then(Aid::name), aid.map(|_| format!("F{number}")).as_deref());
            assert!(Aid(number).is_function_key().and_then(Aid::function_key).is_none_or(|aid| aid.0 == number));
        }
        assert_eq!((Aid::function_key(3), Aid::function_key(5)), (Some(Aid::F3), Some(Aid::F5)));
        assert_eq!(format!("{:?} {:?}", Aid::F3, Aid(0x70)), "Aid(0x33 F3) Aid(0x70)");
    }

    #[test]
    fn fields_that_were_changed() {
        let data = b"\x07\x3B\xF1\x11\x06\x35\xC2\xD6\xC2\x11\x07\x35\xE2\x11\x08\x35\x11\x09\x35";
        let input = parse(data).unwrap();
        assert_eq!((input.row, input.column, input.aid), (7, 0x3B, Aid::ENTER));
        let fields = input.modified(none).unwrap();
        let field = |row, data| FieldData { row, column: 0x35, data };
        assert_eq!(fields, [field(6, b"\xC2\xD6\xC2"), field(7, b"\xE2"), field(8, b""), field(9, b"")]);
        assert_eq!(write_modified(&fields), input.body);
        assert_eq!(input.write(), data);
        assert_eq!(parse(b"\x03\x3C\x33").unwrap().modified(none), Ok(vec![]));
    }

    #[test]
    fn a_transparent_field_may_contain_what_begins_an_address() {
        let data = b"\x01\x01\xF1\x11\x02\x02a\x11b\x11\x03\x03c";
        let field = |row, column, data| FieldData { row, column, data };
        let input = parse(data).unwrap();
        let transparent = |length| move |row, _| (row == 2).then_some(length);
        assert_eq!(input.modified(transparent(3)), Ok(vec![field(2, 2, b"a\x11b"), field(3, 3, b"c")]));
        assert_eq!(input.modified(transparent(7)), Ok(vec![field(2, 2, b"a\x11b\x11\x03\x03c")]));
        // Not of the declared length after all: addresses end it.
        let by_address = Ok(vec![field(2, 2, &b"a"[..]), field(b'b', 0x11, b"\x03\x03c")]);
        for length in [0, 2, 4, 5, 6, 8, 100] {
            assert_eq!(input.modified(transparent(length)), by_address, "{length}");
        }
    }

    #[test]
    fn what_is_no_input_is_refused_with_its_place() {
        assert_eq!(parse(b"\x01\x01"), Err(Error::new("no cursor address and AID", 2)));
        for (data, error) in [
            (&b"\x01\x01\xF1\xC1"[..], Error::new("no field address", 3)),
            (b"\x01\x01\xF1\x11\x02", Error::new("field address cut off", 3)),
            (b"\x01\x01\xF1\x11\x02\x02abc\x11", Error::new("field address cut off", 9)),
        ] {
            assert_eq!(parse(data).unwrap().modified(none), Err(error));
        }
    }

    #[test]
    fn all_fields_in_a_row() {
        assert_eq!(all_fields(b"abcde", &[2, 0, 3]), Ok(vec![&b"ab"[..], b"", b"cde"]));
        assert_eq!(all_fields(b"", &[2, 3]), Ok(vec![]));
        assert_eq!(all_fields(b"abcd", &[2, 3]), Err(Error::new("input fields cut off", 7)));
        assert_eq!(all_fields(b"abcdef", &[2, 3]), Err(Error::new("more than the input fields", 8)));
    }

    #[test]
    fn query_replies() {
        let body = QueryReply::emulator("3179", "2", false);
        let reply = QueryReply::new(&body);
        let data = reply.write();
        assert_eq!((data.len(), &data[..8]), (61, &b"\0\0\x88\0\x3A\xD9\x70\x80"[..]));
        assert_eq!(QueryReply::parse(&data), Ok(reply));
        assert_eq!(
            (reply.model(), reply.is_wide(), reply.is_double_byte()),
            (("3179".into(), "200".into()), false, false)
        );
        assert!(QueryReply::new(&QueryReply::emulator("3477", "FC", true)).is_wide());

        assert!(is_query_reply(&data) && !is_query_reply(&data[..60]) && !is_query_reply(b""));
        assert!(!is_query_reply(&[&data[..], b"\0"].concat()));
        let tn5250j = [&b"\0\0\x88\0\x40\xD9\x70\x80"[..], &[0; 56]].concat();
        assert_eq!(QueryReply::parse(&tn5250j).unwrap().write(), tn5250j);
        assert_eq!(QueryReply::parse(b"\0\0\x88\0\x05\xD9\x70\x80"), Err(Error::new("Query Reply cut off", 8)));
    }

    #[test]
    fn saved_screens() {
        for (data, expected) in [
            (&b"\x04\x12\x78\x9C"[..], true),
            (b"\x04\x13", true),
            (b"\x04", false),
            (b"\x04\x11\xF1", false),
            (b"\x07\x35\xF1", false),
        ] {
            assert_eq!(is_save_reply(data), expected, "{data:02x?}");
        }
    }

    #[test]
    fn debug_shows_no_data() {
        let input = parse(b"\x01\x01\xF1\x11\x02\x03secret").unwrap();
        assert_eq!(format!("{input:?}"), "Input { row: 1, column: 1, aid: Aid(0xf1 Enter), .. }");
        assert_eq!(format!("{:?}", input.modified(none).unwrap()), "[FieldData { row: 2, column: 3, .. }]");
    }

    #[test]
    fn recorded_input_is_written_back_byte_for_byte() {
        let (mut inputs, mut replies, mut saved) = (0, 0, 0);
        for stream in streams().iter().filter(|stream| stream.is_client && stream.is_5250) {
            for (_, content) in stream.records() {
                let record = record::parse(&content).unwrap();
                if record.data.is_empty() || !record.flags.is_empty() || record.is_printer() {
                    continue;
                }
                let input = parse(record.data).unwrap();
                assert_eq!(input.write(), record.data, "{}", stream.name);
                if is_save_reply(record.data) {
                    saved += 1;
                } else if is_query_reply(record.data) {
                    replies += 1;
                    let reply = QueryReply::parse(record.data).unwrap();
                    assert_eq!(reply.write(), record.data, "{}", stream.name);
                    assert!(reply.model().0.chars().all(|digit| digit.is_ascii_digit()), "{}: {reply:?}", stream.name);
                } else {
                    inputs += 1;
                    assert!(input.aid.name().is_some(), "{}: {input:?}", stream.name);
                    assert_eq!(write_modified(&input.modified(none).unwrap()), input.body, "{}", stream.name);
                }
            }
        }
        assert!(streams().is_empty() || inputs > 0 && replies > 0 && saved > 0, "{inputs} {replies} {saved}");
    }

    proptest! {
        #[test]
        fn parse_and_write_are_inverse(data in vec(prop_oneof![any::<u8>(), Just(SET_BUFFER_ADDRESS)], 0..100), length in 0..9_usize) {
            if let Ok(input) = parse(&data) {
                prop_assert_eq!(input.write(), &data[..]);
                for lengths in [None, Some(length)] {
                    if let Ok(fields) = input.modified(|_, _| lengths) {
                        prop_assert_eq!(write_modified(&fields), input.body);
                    }
                }
                if let Ok(fields) = all_fields(input.body, &[length, input.body.len().saturating_sub(length)]) {
                    prop_assert_eq!(fields.concat(), input.body);
                }
            }
            if let Ok(reply) = QueryReply::parse(&data) {
                prop_assert_eq!(reply.write(), data);
            }
        }

        #[test]
        fn fields_come_back(fields in vec((any::<u8>(), any::<u8>(), vec(0x40..=0xFF_u8, 0..20)), 0..10)) {
            let fields: Vec<_> =
                fields.iter().map(|(row, column, data)| FieldData { row: *row, column: *column, data }).collect();
            let body = write_modified(&fields);
            let input = Input { row: 1, column: 1, aid: Aid::ENTER, body: &body };
            prop_assert_eq!(input.modified(none), Ok(fields));
        }
    }
}
