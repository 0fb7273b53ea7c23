//! Known answers for every command and order, refusals with their places, and the inverse of parse and write.

use proptest::prelude::*;

use super::*;

/// Owned operands, from which tokens borrow.
#[derive(Clone)]
pub(crate) enum Owned {
    /// A token without bytes.
    Plain(Token<'static>),
    /// A token made of a selector, a byte and bytes.
    Bytes(u8, u8, Vec<u8>),
    /// A field.
    Field(Option<u16>, Vec<u8>, u8, u16),
}

impl fmt::Debug for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:02X?}", self.token(), write(&[self.token()]))
    }
}

impl Owned {
    pub(crate) fn token(&self) -> Token<'_> {
        match self {
            Self::Plain(token) => *token,
            Self::Bytes(selector, kind, body) => match selector {
                0 => Token::StartOfHeader(body.get(..7).unwrap_or(body)),
                1 => Token::TransparentData(body),
                2 => Token::WriteDisplayStructuredField { kind: *kind, body },
                3 => Token::EraseToAddress { row: *kind, column: kind.wrapping_mul(7), kinds: body },
                _ => Token::Text(body),
            },
            Self::Field(ffw, fcws, attribute, length) => {
                Token::StartField { ffw: *ffw, fcws, attribute: *attribute, length: *length }
            }
        }
    }

    fn is_order(&self) -> bool {
        match self {
            Self::Plain(token) => matches!(
                token,
                Token::RepeatToAddress { .. }
                    | Token::SetBufferAddress { .. }
                    | Token::WriteExtendedAttribute { .. }
                    | Token::InsertCursor { .. }
                    | Token::MoveCursor { .. }
            ),
            Self::Bytes(..) | Self::Field(..) => true,
        }
    }
}

fn place() -> impl Strategy<Value = (u8, u8)> {
    prop_oneof![(1_u8..=24, 1_u8..=80), (any::<u8>(), any::<u8>()), Just((1, 0))]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>().prop_map(|byte| if is_text(byte) { byte } else { 0x40 }), 1..60)
}

pub(crate) fn any_order() -> impl Strategy<Value = Owned> {
    let field = (
        prop::option::of((0x4000_u16..0x8000, prop::collection::vec((0x80_u8..0xC0, any::<u8>()), 0..4))),
        0x20_u8..0x40,
        prop_oneof![0_u16..200, any::<u16>()],
    );
    prop_oneof![
        4 => text().prop_map(|text| Owned::Bytes(9, 0, text)),
        4 => place().prop_map(|(row, column)| Owned::Plain(Token::SetBufferAddress { row, column })),
        3 => field.prop_map(|(words, attribute, length)| {
            let (ffw, fcws) = words.map_or((None, Vec::new()), |(ffw, fcws)| {
                (Some(ffw), fcws.into_iter().flat_map(|(high, low)| [high, low]).collect())
            });
            Owned::Field(ffw, fcws, attribute, length)
        }),
        1 => (place(), any::<u8>())
            .prop_map(|((row, column), byte)| Owned::Plain(Token::RepeatToAddress { row, column, byte })),
        1 => (0_u8..4, any::<u8>(), prop::collection::vec(any::<u8>(), 0..30))
            .prop_map(|(selector, kind, body)| Owned::Bytes(selector, kind, body)),
        1 => (prop_oneof![Just(1_u8), Just(3), Just(5), any::<u8>()], any::<u8>())
            .prop_map(|(kind, value)| Owned::Plain(Token::WriteExtendedAttribute { kind, value })),
        1 => place().prop_map(|(row, column)| Owned::Plain(Token::InsertCursor { row, column })),
        1 => place().prop_map(|(row, column)| Owned::Plain(Token::MoveCursor { row, column })),
    ]
}

pub(crate) fn any_command() -> impl Strategy<Value = Owned> {
    let other = prop_oneof![
        Just(Token::ClearUnit),
        prop_oneof![Just(0_u8), Just(0x80), any::<u8>()].prop_map(Token::ClearUnitAlternate),
        Just(Token::ClearFormatTable),
        Just(Token::SaveScreen),
        any::<[u8; 5]>().prop_map(Token::SavePartialScreen),
        any::<[u8; 2]>().prop_map(Token::CopyToPrinter),
        (any::<u8>(), 0_u8..30, 0_u8..30).prop_map(|(direction, top, bottom)| Token::Roll { direction, top, bottom }),
        any::<(u8, u8)>().prop_map(|(cc1, cc2)| Token::ReadInputFields { cc1, cc2 }),
        any::<(u8, u8)>().prop_map(|(cc1, cc2)| Token::ReadMdtAlternate { cc1, cc2 }),
        Just(Token::ReadScreen),
        Just(Token::ReadScreenExtended),
        Just(Token::ReadScreenToPrint(0x6A)),
        Just(Token::ReadImmediate),
        Just(Token::ReadModifiedImmediateAlternate),
    ];
    let write = prop_oneof![
        4 => any::<(u8, u8)>().prop_map(|(cc1, cc2)| Token::WriteToDisplay { cc1, cc2 }),
        1 => Just(Token::WriteErrorCode),
        1 => any::<(u8, u8)>().prop_map(|(start, end)| Token::WriteErrorCodeToWindow { start, end }),
        1 => any::<(u8, u8)>().prop_map(|(cc1, cc2)| Token::ReadMdtFields { cc1, cc2 }),
    ];
    prop_oneof![1 => other, 2 => write].prop_map(Owned::Plain)
}

/// Tokens as `parse` gives them: orders only after a write, no two texts in a row.
pub(crate) fn any_tokens() -> impl Strategy<Value = Vec<Owned>> {
    let write = any::<(u8, u8)>().prop_map(|(cc1, cc2)| Owned::Plain(Token::WriteToDisplay { cc1, cc2 }));
    let part = prop_oneof![
        3 => (write, prop::collection::vec(any_order(), 0..20)),
        1 => (any_command(), Just(Vec::new())),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| {
        let mut tokens: Vec<Owned> = Vec::new();
        for (command, orders) in parts {
            tokens.push(command);
            for order in orders {
                let twice = matches!((&order, tokens.last()), (Owned::Bytes(9, ..), Some(Owned::Bytes(9, ..))));
                if order.is_order() && !twice {
                    tokens.push(order);
                }
            }
        }
        tokens
    })
}

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn error(hex: &str) -> Error {
    parse(&bytes(hex)).unwrap_err()
}

#[test]
fn commands() {
    for (hex, token) in [
        ("0402", Token::SaveScreen),
        ("04030000000000", Token::SavePartialScreen([0; 5])),
        ("04110018", Token::WriteToDisplay { cc1: 0, cc2: 0x18 }),
        ("0412 0440 04110000", Token::RestoreScreen(&[4, 0x40, 4, 0x11, 0, 0])),
        ("0413 789C", Token::RestorePartialScreen(&[0x78, 0x9C])),
        ("04160102", Token::CopyToPrinter([1, 2])),
        ("042000", Token::ClearUnitAlternate(0)),
        ("0421", Token::WriteErrorCode),
        ("04220250", Token::WriteErrorCodeToWindow { start: 2, end: 0x50 }),
        ("0423810418", Token::Roll { direction: 0x81, top: 4, bottom: 0x18 }),
        ("0440", Token::ClearUnit),
        ("04420000", Token::ReadInputFields { cc1: 0, cc2: 0 }),
        ("0450", Token::ClearFormatTable),
        ("04524008", Token::ReadMdtFields { cc1: 0x40, cc2: 8 }),
        ("0462", Token::ReadScreen),
        ("0464", Token::ReadScreenExtended),
        ("046C", Token::ReadScreenToPrint(0x6C)),
        ("0472", Token::ReadImmediate),
        ("04820004", Token::ReadMdtAlternate { cc1: 0, cc2: 4 }),
        ("0483", Token::ReadModifiedImmediateAlternate),
        ("04F30005D97000", Token::WriteStructuredField { kind: QUERY, body: &[0] }),
        ("04F40005D96601", Token::WriteSingleStructuredField { kind: 0x66, body: &[1] }),
    ] {
        assert_eq!(parse(&bytes(hex)), Ok(vec![token]), "{hex}");
        assert_eq!(write(&[token]), bytes(hex), "{hex}");
    }
}

#[test]
fn orders() {
    for (hex, token) in [
        ("0107 000000180000 04", Token::StartOfHeader(&[0, 0, 0, 0x18, 0, 0, 4])),
        ("0100", Token::StartOfHeader(&[])),
        ("02073E04", Token::RepeatToAddress { row: 7, column: 0x3E, byte: 4 }),
        ("03185002FF", Token::EraseToAddress { row: 24, column: 80, kinds: &[0xFF] }),
        ("10 0003 0440FF", Token::TransparentData(&[4, 0x40, 0xFF])),
        ("110100", Token::SetBufferAddress { row: 1, column: 0 }),
        ("120384", Token::WriteExtendedAttribute { kind: 3, value: 0x84 }),
        ("130635", Token::InsertCursor { row: 6, column: 53 }),
        ("14144F", Token::MoveCursor { row: 20, column: 79 }),
        ("15 0009 D951 8000000410", Token::WriteDisplayStructuredField { kind: 0x51, body: &[0x80, 0, 0, 4, 16] }),
        ("1D 20 000A", Token::StartField { ffw: None, fcws: &[], attribute: 0x20, length: 10 }),
        ("1D 4020 24 000A", Token::StartField { ffw: Some(0x4020), fcws: &[], attribute: 0x24, length: 10 }),
        (
            "1D 4000 8200 8601 3F 0404",
            Token::StartField { ffw: Some(0x4000), fcws: &[0x82, 0, 0x86, 1], attribute: 0x3F, length: 0x404 },
        ),
        ("22C1C20E4F4F0F001C1EFE", Token::Text(&[0x22, 0xC1, 0xC2, 0x0E, 0x4F, 0x4F, 0x0F, 0, 0x1C, 0x1E, 0xFE])),
    ] {
        let data = [bytes("04110000"), bytes(hex)].concat();
        assert_eq!(parse(&data).unwrap().get(1..), Some([token].as_slice()), "{hex}");
        assert_eq!(write(&parse(&data).unwrap()), data, "{hex}");
    }
}

#[test]
fn unknown_and_truncated() {
    for (hex, what, offset) in [
        ("0499", "unknown command", 1),
        ("0440 0404", "unknown command", 3),
        ("04", "ESC without a command", 0),
        ("0440 C1", "data without a command", 2),
        ("C1", "data without a command", 0),
        ("0452 0000 C1", "data without a command", 4),
        ("0411 00", SHORT, 2),
        ("0411 0000 C1 FF", "unknown order", 5),
        ("0411 0000 01 08", "header length", 5),
        ("0411 0000 01 07 00", SHORT, 6),
        ("0411 0000 03 0101 00", "erase length", 8),
        ("0411 0000 10 0002 00", SHORT, 7),
        ("0411 0000 15 0003 D9", "structured field length", 5),
        ("0411 0000 15 0005 D8 51 00", "structured field class", 7),
        ("0411 0000 1D 8020 24 000A", "field format word", 5),
        ("0411 0000 1D 4020 40 000A", "field attribute", 7),
        ("0411 0000 1D 4020", SHORT, 7),
        ("04F3 0005 D970", SHORT, 6),
    ] {
        assert_eq!(error(hex), Error { what, offset }, "{hex}");
    }
}

#[test]
fn structured_fields_are_chained() {
    let data = bytes("04F3 0005 D97000 0004 D972 04520000");
    let tokens = parse(&data).unwrap();
    assert_eq!(
        tokens,
        [
            Token::WriteStructuredField { kind: QUERY, body: &[0] },
            Token::NextStructuredField { kind: QUERY_STATION_STATE, body: &[] },
            Token::ReadMdtFields { cc1: 0, cc2: 0 },
        ]
    );
    assert_eq!(write(&tokens), data);
    assert!(tokens.iter().all(|token| token.asks_answer() && !token.draws()));
}

#[test]
fn debug_shows_no_text() {
    let data = bytes("04110018 110635 1D402024000A D1D6C8D5");
    assert_eq!(format!("{:?}", parse(&data).unwrap()), "[WRITE TO DISPLAY 0,24, SBA 6,53, SF 24 [10], text [4]]");
}

proptest! {
    #[test]
    fn parse_undoes_write(tokens in any_tokens()) {
        let tokens: Vec<Token<'_>> = tokens.iter().map(Owned::token).collect();
        let data = write(&tokens);
        prop_assert_eq!(parse(&data), Ok(tokens));
    }

    #[test]
    fn write_undoes_parse(data in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut data = data;
        data.splice(0..0, [4, 0x11, 0, 0]);
        let tokens: Vec<Token<'_>> = Tokens::new(&data).map_while(Result::ok).collect();
        let written = write(&tokens);
        prop_assert!(data.starts_with(&written));
        if let Err(error) = parse(&data) {
            prop_assert!(error.offset >= written.len() && error.offset <= data.len());
        }
    }
}
