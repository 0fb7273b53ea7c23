//! Our own screens, each one record, and what the user answers to them.
//!
//! A screen is a list of texts with their places, and fields. It is drawn by nothing but what every client draws, tried
//! with several of them: put/get, CLEAR UNIT, WRITE TO DISPLAY that unlocks, SOH with the error row 24, texts, fields of
//! plain shift, READ MDT FIELDS. No insert cursor, no windows, no error line, no extended attributes. Always 24 rows and 80
//! columns, and always the whole screen: a message comes with all the rest.
//!
//! - Our words consist of the characters that have one byte on every code page, and are in upper case where the page has
//!   no lower-case Latin letters. Names and addresses are encoded for the code page of the session; a character which
//!   that page lacks, or that would not be a character there, is a question mark.
//! - The field for digits does not move: [`PASSCODE`]; nor does the one for whatever is longer: [`LONG`].
//! - What is keyed leaves this module as a [`Secret`] only.

mod panel;

use policy::{Asks, Factor, Filled, Heading, Keys, Message, Notice, PasscodePrompt, Prompt, Secret};

use crate::display::{self, Token};
use crate::ebcdic::CodePage;
use crate::input::{Aid, Input};
use crate::record::{Flags, Opcode, Record};

/// Row and column, from 1, of the first character of the passcode field.
pub const PASSCODE: (u8, u8) = (17, 44);

/// Characters of the passcode field: room for `K - ` before six digits.
pub const PASSCODE_LENGTH: u16 = 10;
// A passcode that is longer than its field could not be keyed by anybody.
const _: () = assert!(policy::challenge::DIGITS_MAX as u16 <= PASSCODE_LENGTH);

/// Row and column, from 1, of the first character of the field for what is longer than some digits.
pub const LONG: (u8, u8) = (18, 2);

/// Characters of that field: a YubiKey types 44 of them.
pub const LONG_LENGTH: u16 = 76;

const COLUMNS: usize = 80;
const LAST_ROW: u8 = 24;

/// Where labels begin, and values, on the left and in the corner on the right.
const LABEL: u8 = 2;
const VALUE: u8 = 40;
const CORNER_LABEL: u8 = 45;
const CORNER_VALUE: u8 = 65;

const GREEN: u8 = 0x20;
const WHITE: u8 = 0x22;
const HIDDEN: u8 = 0x27;
const RED: u8 = 0x28;
const BLUE: u8 = 0x3A;

/// What a question mark is on every code page.
const UNKNOWN: u8 = 0x6F;

/// What the user did at the prompt.
#[derive(Debug, Clone)]
pub enum Keyed {
    /// Enter, with what may be a passcode.
    Passcode(Secret<String>),
    /// Enter, with nothing or with something that is no passcode.
    Malformed,
    /// F5.
    Resend,
    /// F6.
    Other,
    /// F9.
    Maintain,
    /// A key that the panel answers to, with what stands in its fields.
    Panel(Filled),
    /// F3.
    Exit,
    /// F12.
    Cancel,
    /// Any other key.
    Nothing,
}

/// The screen of a prompt: the content of one record.
#[must_use]
pub fn screen(prompt: &Prompt, page: CodePage) -> Vec<u8> {
    match prompt {
        Prompt::Passcode(prompt) => passcode(prompt, page),
        Prompt::Panel(panel) => panel::screen(panel, page),
    }
}

/// What the user did, by the record that answers a prompt.
#[must_use]
pub fn answer(input: &Input<'_>, prompt: &Prompt, page: CodePage) -> Keyed {
    match prompt {
        Prompt::Passcode(prompt) => passcode_answer(input, prompt, page),
        Prompt::Panel(panel) => panel::answer(input, panel, page),
    }
}

/// The screen that asks for a passcode.
fn passcode(prompt: &PasscodePrompt, page: CodePage) -> Vec<u8> {
    let mut items = frame("SPT1001", "Sign On - Second Factor", Some(&prompt.heading));
    let mut rows = vec![("User", prompt.user.to_string()), ("Source address", prompt.heading.source.to_string())];
    match &prompt.asks {
        Asks::Sent { destination, prefix, .. } => {
            rows.push(("Passcode sent to", destination.clone()));
            rows.push(("Message prefix", prefix.to_string()));
            rows.push(("Passcode expires at", prompt.expires.clone()));
        }
        Asks::Own { factor, name, .. } => {
            rows.push(("Second factor", kind(*factor).to_owned()));
            rows.push(("Name", name.clone()));
            rows.push(("To be keyed by", prompt.expires.clone()));
        }
    }
    rows.push(("Tries left", prompt.tries_left.to_string()));
    for ((label, value), row) in rows.into_iter().zip(7..) {
        items.push(Item::new(row, LABEL, GREEN, leader(label, 35, ":")));
        items.push(Item::new(row, VALUE, WHITE, value));
    }
    items.push(Item::new(14, LABEL, BLUE, instruction(&prompt.asks)));
    let text = match &prompt.asks {
        Asks::Own { text: Some(text), .. } => text.as_str(),
        Asks::Sent { .. } | Asks::Own { text: None, .. } => "What you key is not displayed.",
    };
    items.push(Item::new(15, LABEL, BLUE, text));
    let label = if matches!(prompt.asks, Asks::Sent { .. }) { "Passcode" } else { "Code" };
    items.push(Item::new(PASSCODE.0, LABEL, GREEN, leader(label, 35, ".")));
    let field = if is_long(&prompt.asks) {
        Field { row: LONG.0, column: LONG.1, length: LONG_LENGTH, attribute: HIDDEN, ffw: FREE, value: "" }
    } else {
        let (row, column) = PASSCODE;
        Field { row, column, length: PASSCODE_LENGTH, attribute: HIDDEN, ffw: UPPER, value: "" }
    };
    if let Asks::Sent { prefix, .. } = prompt.asks {
        items.push(Item::new(PASSCODE.0, VALUE, WHITE, format!("{prefix} -")));
    }
    items.push(Item::new(LAST_ROW - 1, LABEL, BLUE, keys_text(prompt.keys)));
    let message = prompt.message.map(|message| (color(message), message.text_for(&prompt.asks)));
    record(&items, &[field], message, page)
}

/// The words for a factor.
const fn kind(factor: Factor) -> &'static str {
    match factor {
        Factor::Email => "E-mail",
        Factor::Sms => "Text message",
        Factor::Totp => "Authenticator app",
        Factor::Hotp => "Token",
        Factor::Yubikey => "YubiKey",
        Factor::Radius => "Authentication server",
        Factor::Recovery => "Recovery code",
        Factor::OneTime => "Emergency code",
    }
}

fn instruction(asks: &Asks) -> String {
    match asks {
        Asks::Sent { prefix, digits, .. } => {
            format!("Key the {digits} digits of the message that begins with {prefix}, then press Enter.")
        }
        Asks::Own { factor, digits, .. } => {
            let what = match (factor, digits) {
                (Factor::Totp, Some(digits)) => format!("the {digits} digits that the authenticator app shows"),
                (Factor::Hotp, Some(digits)) => format!("the {digits} digits that the token shows"),
                (Factor::Yubikey, _) => {
                    return "Press the button of the YubiKey, then Enter if it does not itself.".into();
                }
                (Factor::Recovery, _) => "one of the recovery codes".to_owned(),
                (Factor::OneTime, _) => "the code from the system administrator".to_owned(),
                (Factor::Email | Factor::Sms | Factor::Totp | Factor::Hotp | Factor::Radius, _) => {
                    "the code that is asked for".to_owned()
                }
            };
            format!("Key {what}, then press Enter.")
        }
    }
}

const fn is_long(asks: &Asks) -> bool {
    !matches!(asks, Asks::Sent { .. } | Asks::Own { factor: Factor::Totp | Factor::Hotp, .. })
}

fn keys_text(keys: Keys) -> String {
    let mut text = "Enter=Continue   F3=Exit".to_owned();
    for (offered, word) in
        [(keys.resend, "F5=Resend"), (keys.other, "F6=Another way"), (keys.maintain, "F9=My contacts")]
    {
        if offered {
            text.push_str("   ");
            text.push_str(word);
        }
    }
    text.push_str("   F12=Cancel");
    text
}

/// The screen that says why the session ends, to be read and answered with any key: the content of one record.
///
/// `heading` is the one of the last prompt; there is none if the user has seen no prompt.
#[must_use]
pub fn farewell(heading: Option<&Heading>, notice: Notice, page: CodePage) -> Vec<u8> {
    let mut items = frame("SPT1002", "Sign On - Second Factor", heading);
    items.push(Item::new(10, LABEL, WHITE, notice.text()));
    items.push(Item::new(12, LABEL, BLUE, "Press Enter to end the session."));
    items.push(Item::new(LAST_ROW - 1, LABEL, BLUE, "Enter=End"));
    record(&items, &[], None, page)
}

/// What the user did at the passcode prompt.
///
/// A passcode is digits, with blanks and nulls around them, and before them, if the user likes, the prefix letter:
/// `123456`, `K 123456`, `k-123456`. Clients differ in what they leave off at the end of a field. The letter stays: whether it
/// is the right one is not for the gate to say.
fn passcode_answer(input: &Input<'_>, prompt: &PasscodePrompt, page: CodePage) -> Keyed {
    match input.aid {
        Aid::ENTER if is_long(&prompt.asks) => long(input, page).map_or(Keyed::Malformed, Keyed::Passcode),
        Aid::ENTER => keyed(input).map_or(Keyed::Malformed, Keyed::Passcode),
        Aid::F3 => Keyed::Exit,
        Aid::F5 if prompt.keys.resend => Keyed::Resend,
        Aid::F6 if prompt.keys.other => Keyed::Other,
        Aid::F9 if prompt.keys.maintain => Keyed::Maintain,
        Aid::F12 => Keyed::Cancel,
        _ => Keyed::Nothing,
    }
}

/// A text on a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    row: u8,
    /// The column of the first character; the attribute stands before it.
    column: u8,
    attribute: u8,
    text: String,
}

impl Item {
    fn new(row: u8, column: u8, attribute: u8, text: impl Into<String>) -> Self {
        Self { row, column, attribute, text: text.into() }
    }
}

/// A field on a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Field<'a> {
    row: u8,
    /// The column of the first character; the attribute stands before it.
    column: u8,
    length: u16,
    attribute: u8,
    ffw: u16,
    /// What stands in it at first.
    value: &'a str,
}

/// Field format words: a field of plain shift, as it is keyed; the same with letters in upper case.
const FREE: u16 = 0x4000;
const UPPER: u16 = 0x4020;

/// Panel id, title, and in the corner on the right what IBM i has there.
fn frame(panel: &str, title: &str, heading: Option<&Heading>) -> Vec<Item> {
    let mut items = vec![Item::new(1, LABEL, BLUE, panel), Item::new(1, 29, WHITE, title)];
    if let Some(heading) = heading {
        let rows = [
            ("System", &heading.host),
            ("Gateway", &heading.gateway),
            ("Date", &heading.date),
            ("Time", &heading.time),
        ];
        for ((label, value), row) in rows.into_iter().zip(2..) {
            items.push(Item::new(row, CORNER_LABEL, GREEN, leader(label, 17, ":")));
            items.push(Item::new(row, CORNER_VALUE, GREEN, value.as_str()));
        }
    }
    items
}

/// A label with leading dots, as IBM i has them: an even place for each dot, `width` characters in all.
fn leader(label: &str, width: usize, end: &str) -> String {
    let mut text = format!("{label} ");
    let dots = width.saturating_sub(1);
    while text.chars().count() < dots {
        text.push(if text.chars().count() % 2 == width % 2 { ' ' } else { '.' });
    }
    text.push_str(end);
    text
}

const fn color(message: Message) -> u8 {
    match message {
        Message::Wrong
        | Message::Malformed
        | Message::ResendRefused
        | Message::OtherSignOn
        | Message::Replayed
        | Message::Again
        | Message::Busy => RED,
        Message::Renewed | Message::Resent | Message::MaintainNext => WHITE,
    }
}

fn record(items: &[Item], fields: &[Field<'_>], message: Option<(u8, &str)>, page: CodePage) -> Vec<u8> {
    let texts: Vec<Vec<u8>> = items.iter().map(|item| cells(item, page)).collect();
    let values: Vec<Vec<u8>> =
        fields.iter().map(|field| encode(field.value, usize::from(field.length), page)).collect();
    let mut tokens = vec![
        Token::ClearUnit,
        Token::WriteToDisplay { cc1: 0x00, cc2: 0x18 },
        Token::StartOfHeader(&[0, 0, 0, LAST_ROW, 0, 0, 0]),
    ];
    for (item, text) in items.iter().zip(&texts) {
        tokens.push(Token::SetBufferAddress { row: item.row, column: item.column.saturating_sub(1) });
        tokens.push(Token::Text(text));
    }
    for (field, value) in fields.iter().zip(&values) {
        let Field { row, column, length, attribute, ffw, .. } = *field;
        tokens.push(Token::SetBufferAddress { row, column: column.saturating_sub(1) });
        tokens.push(Token::StartField { ffw: Some(ffw), fcws: &[], attribute, length });
        if !value.is_empty() {
            tokens.push(Token::Text(value));
        }
    }
    let message = message.map(|(attribute, text)| {
        let mut cells = vec![attribute];
        cells.extend(encode(text, COLUMNS, page));
        cells
    });
    if let Some(cells) = &message {
        // As hosts do it: the attribute takes the last cell of the row before, so the text has the whole row.
        tokens.push(Token::SetBufferAddress { row: LAST_ROW - 1, column: 80 });
        tokens.push(Token::Text(cells));
    }
    tokens.push(Token::ReadMdtFields { cc1: 0x00, cc2: 0x00 });
    let data = display::write(&tokens);
    Record { reserved: 0, flags: Flags::NONE, flags2: 0, opcode: Opcode::PUT_GET, extra: &[], data: &data }.write()
}

/// Attribute, characters, and the attribute of plain text again, within the row.
fn cells(item: &Item, page: CodePage) -> Vec<u8> {
    let room = COLUMNS.saturating_sub(usize::from(item.column));
    let mut cells = vec![item.attribute];
    cells.extend(encode(&item.text, room, page));
    cells.push(GREEN);
    cells
}

fn encode(text: &str, room: usize, page: CodePage) -> Vec<u8> {
    let upper = !page.has_lower_latin();
    let byte = |character: char| {
        let character = if upper { character.to_ascii_uppercase() } else { character };
        // Everything below 40 is a control, an order or an attribute.
        page.encode(character).filter(|byte| (0x40..0xFF).contains(byte)).unwrap_or(UNKNOWN)
    };
    text.chars().take(room).map(byte).collect()
}

/// The digits in the passcode field, and a letter before them.
fn keyed(input: &Input<'_>) -> Option<Secret<String>> {
    let fields = input.modified(|_, _| None).ok()?;
    let field = fields.iter().find(|field| (field.row, field.column) == PASSCODE)?;
    let mut rest = trim(field.data);
    let mut letter = None;
    if let [first @ (0x81..=0x89 | 0x91..=0x99 | 0xA2..=0xA9 | 0xC1..=0xC9 | 0xD1..=0xD9 | 0xE2..=0xE9), behind @ ..] =
        rest
    {
        letter = Some(CodePage::CP037.decode(*first));
        rest = trim(behind);
        if let [0x60, behind @ ..] = rest {
            rest = trim(behind);
        }
    }
    let digits = 1..=usize::from(PASSCODE_LENGTH);
    if !digits.contains(&rest.len()) || !rest.iter().all(|byte| matches!(byte, 0xF0..=0xF9)) {
        return None;
    }
    // Room for all of it at once: growing would leave copies behind.
    let mut passcode = String::with_capacity(rest.len().saturating_add(1));
    passcode.extend(letter.map(|letter| letter.to_ascii_uppercase()));
    for byte in rest {
        passcode.push(char::from(byte & 0x0F | b'0'));
    }
    Some(Secret::new(passcode))
}

/// What stands in the long field.
fn long(input: &Input<'_>, page: CodePage) -> Option<Secret<String>> {
    let fields = input.modified(|_, _| None).ok()?;
    let field = fields.iter().find(|field| (field.row, field.column) == LONG)?;
    let text = text_of(field.data, LONG_LENGTH, page)?;
    (!text.expose().is_empty()).then_some(text)
}

/// What was keyed into a field; `None` where it is too long or holds what no keyboard makes.
fn text_of(data: &[u8], length: u16, page: CodePage) -> Option<Secret<String>> {
    let data = trim(data);
    if data.len() > usize::from(length) || data.iter().any(|byte| matches!(byte, 0x01..=0x3F | 0xFF)) {
        return None;
    }
    // Four bytes are enough for any character.
    let mut text = String::with_capacity(data.len().saturating_mul(4));
    text.extend(data.iter().map(|byte| if *byte == 0 { ' ' } else { page.decode(*byte) }));
    Some(Secret::new(text))
}

/// Without the blanks and nulls around.
fn trim(data: &[u8]) -> &[u8] {
    let mut data = data;
    while let [0x00 | 0x40, rest @ ..] | [rest @ .., 0x00 | 0x40] = data {
        data = rest;
    }
    data
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::display::tests::bytes;
    use crate::ebcdic::INVARIANT;
    use crate::screen::{Read, Screen};
    use crate::{input, record};

    const MESSAGES: [Message; 10] = [
        Message::Wrong,
        Message::Malformed,
        Message::Renewed,
        Message::Resent,
        Message::ResendRefused,
        Message::OtherSignOn,
        Message::Replayed,
        Message::Again,
        Message::Busy,
        Message::MaintainNext,
    ];
    const NOTICES: [Notice; 8] = [
        Notice::Refused,
        Notice::Exhausted,
        Notice::Cancelled,
        Notice::Expired,
        Notice::NoFactor,
        Notice::Waiting,
        Notice::Unavailable,
        Notice::Ended,
    ];

    fn prompt(message: Option<Message>) -> PasscodePrompt {
        PasscodePrompt {
            heading: Heading {
                host: String::from("PUB400"),
                gateway: String::from("sallyport-1"),
                date: String::from("2026-11-22"),
                time: String::from("14:03:59"),
                source: [192, 0, 2, 7].into(),
            },
            user: "anna".parse().unwrap(),
            asks: sent("a*****@example.com", 'K'),
            keys: Keys { resend: true, ..Keys::default() },
            tries_left: 3,
            expires: String::from("14:08:59"),
            message,
            way: None,
        }
    }

    fn sent(destination: &str, prefix: char) -> Asks {
        Asks::Sent { destination: destination.to_owned(), prefix, digits: 6 }
    }

    fn shown(content: &[u8]) -> Screen {
        let record = record::parse(content).unwrap();
        assert_eq!((record.flags, record.opcode), (Flags::NONE, Opcode::PUT_GET));
        assert!(record.data.starts_with(&bytes("0440 04110018 0107 000000 18 000000")));
        assert!(record.data.ends_with(&bytes("0452 0000")));
        let mut screen = Screen::new();
        screen.apply_data(&bytes("042000")).unwrap();
        screen.apply_data(record.data).unwrap();
        assert_eq!((screen.columns(), screen.is_exact()), (80, true));
        assert_eq!(screen.pending_read(), Some(Read::MdtFields));
        screen
    }

    fn text(screen: &Screen, page: CodePage) -> String {
        let rows = (1..=24).map(|row| screen.row_text(row, page).trim_end().to_owned());
        rows.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_passcode_screen() {
        let screen = shown(&passcode(&prompt(Some(Message::Wrong)), CodePage::CP037));
        let expected = [
            " SPT1001                    Sign On - Second Factor",
            "                                            System  . . . . :   PUB400",
            "                                            Gateway . . . . :   sallyport-1",
            "                                            Date  . . . . . :   2026-11-22",
            "                                            Time  . . . . . :   14:03:59",
            "",
            " User  . . . . . . . . . . . . . . :   ANNA",
            " Source address  . . . . . . . . . :   192.0.2.7",
            " Passcode sent to  . . . . . . . . :   a*****@example.com",
            " Message prefix  . . . . . . . . . :   K",
            " Passcode expires at . . . . . . . :   14:08:59",
            " Tries left  . . . . . . . . . . . :   3",
            "",
            " Key the 6 digits of the message that begins with K, then press Enter.",
            " What you key is not displayed.",
            "",
            " Passcode  . . . . . . . . . . . . .   K -",
            "",
            "",
            "",
            "",
            "",
            " Enter=Continue   F3=Exit   F5=Resend   F12=Cancel",
            "Passcode not correct.",
        ];
        assert_eq!(text(&screen, CodePage::CP037), expected.join("\n"));
        let [field] = screen.fields() else { panic!("one field") };
        assert_eq!((screen.place(field.address), field.length, field.ffw), (PASSCODE, PASSCODE_LENGTH, 0x4020));
        assert!(screen.is_hidden(field) && !field.is_bypass());
        assert_eq!(screen.cursor(), PASSCODE);
        assert_eq!(screen.home(), None);
        for (row, column, attribute) in [(1, 29, WHITE), (17, 40, WHITE), (17, 54, GREEN), (23, 2, BLUE), (24, 1, RED)]
        {
            assert_eq!(screen.attribute_at(screen.address_of(row, column).unwrap()), attribute, "{row},{column}");
        }
    }

    #[test]
    fn the_farewell_screen() {
        let heading = prompt(None).heading;
        let screen = shown(&farewell(Some(&heading), Notice::Cancelled, CodePage::CP037));
        assert!(screen.fields().is_empty());
        let screen_text = text(&screen, CodePage::CP037);
        assert!(screen_text.contains("\n Sign-on cancelled.\n\n Press Enter to end the session.\n"), "{screen_text}");
        assert!(screen_text.contains("PUB400"));
        assert!(!text(&shown(&farewell(None, Notice::Refused, CodePage::CP037)), CodePage::CP037).contains("System"));
    }

    #[test]
    fn every_page_and_text() {
        for page in CodePage::all() {
            for message in MESSAGES.map(Some).into_iter().chain([None]) {
                let screen = shown(&passcode(&prompt(message), page));
                let read = text(&screen, page);
                let expected = message.map_or("", Message::text);
                let last = screen.row_text(24, page);
                if page.has_lower_latin() {
                    assert_eq!(last.trim_end(), expected);
                } else {
                    assert_eq!(last.trim_end(), expected.to_uppercase());
                    assert!(!read.chars().any(|character| character.is_ascii_lowercase()));
                }
                let at = if page.encode('@').is_some_and(|byte| byte >= 0x40) { '@' } else { '?' };
                assert!(read.to_lowercase().contains(&format!("a*****{at}example.com")), "{page:?} {read}");
            }
            for notice in NOTICES {
                assert!(
                    text(&shown(&farewell(None, notice, page)), page)
                        .to_lowercase()
                        .contains(&notice.text().to_lowercase())
                );
            }
        }
    }

    #[test]
    fn a_field_with_nothing_in_it_is_told_by_what_it_is_for() {
        for (factor, told) in [
            (Factor::Totp, "Key the code, digits only, and press Enter."),
            (Factor::Hotp, "Key the code, digits only, and press Enter."),
            (Factor::Yubikey, "Nothing was read. Press the button of the YubiKey."),
            (Factor::Recovery, "Key one of the recovery codes, and press Enter."),
            (Factor::OneTime, "Key the code from the system administrator, and press Enter."),
            (Factor::Radius, "Key the code that is asked for, and press Enter."),
        ] {
            let asks = Asks::Own { factor, name: String::new(), digits: None, text: None };
            let asked = PasscodePrompt { asks, ..prompt(Some(Message::Malformed)) };
            let screen = shown(&passcode(&asked, CodePage::CP037));
            assert_eq!(screen.row_text(24, CodePage::CP037).trim_end(), told);
            assert!(told.to_uppercase().chars().all(|character| INVARIANT.contains(character)));
        }
        let screen = shown(&passcode(&prompt(Some(Message::Malformed)), CodePage::CP037));
        let told = "Key the passcode, digits only, and press Enter.";
        assert_eq!(screen.row_text(24, CodePage::CP037).trim_end(), told);
    }

    #[test]
    fn our_words_are_on_every_page() {
        let ours = |text: &str| text.to_uppercase().chars().all(|character| INVARIANT.contains(character));
        assert!(MESSAGES.iter().all(|message| ours(message.text()) && message.text().chars().count() <= 80));
        assert!(NOTICES.iter().all(|notice| ours(notice.text()) && notice.text().chars().count() <= 76));
        let mut plain = prompt(None);
        plain.asks = sent("", 'K');
        plain.heading.gateway.clear();
        let screen = shown(&passcode(&plain, CodePage::CP037));
        assert!(ours(&text(&screen, CodePage::CP037).replace('\n', " ")));
    }

    #[test]
    fn hostile_values_stay_text() {
        let mut hostile = prompt(None);
        hostile.asks = sent(&"\u{4}\u{7f}\u{9c}\0\u{e}\u{ff}漢".repeat(40), '\u{1b}');
        hostile.heading.host = "X".repeat(300);
        hostile.expires = "\u{85}".repeat(300);
        for page in CodePage::all() {
            let screen = shown(&passcode(&hostile, page));
            assert_eq!(screen.fields().len(), 1);
            assert_eq!(screen.row_text(2, page).trim_end().chars().count(), 79);
            assert!(screen.row_text(9, page).trim_end().chars().count() <= 79);
        }
    }

    fn keyed_in(hex: &str) -> Keyed {
        let body = bytes(hex);
        answer(
            &Input { row: 17, column: 44, aid: Aid::ENTER, body: &body },
            &Prompt::Passcode(Box::new(prompt(None))),
            CodePage::CP037,
        )
    }

    #[test]
    fn passcodes() {
        for (hex, digits) in [
            ("11112C F1F2F3F4F5F6", "123456"),
            ("11112C F1F2F3F4F5F640404040", "123456"),
            ("11112C 4000F1F2F3F4F5F6000000", "123456"),
            ("11112C D2F1F2F3F4F5F6", "K123456"),
            ("11112C D240F1F2F3F4F5F6", "K123456"),
            ("11112C 92F0F0F0F0F0F1", "K000001"),
            ("11112C D2406040F1F2F3F4F5F6", "K123456"),
            ("11112C D260F1F2F3F4F5F6", "K123456"),
            ("11112C F1F2F3F4F5F6F7F8F9F0", "1234567890"),
            ("110102C1 11112C F1", "1"),
        ] {
            let Keyed::Passcode(passcode) = keyed_in(hex) else { panic!("{hex}") };
            assert_eq!(passcode.expose(), digits, "{hex}");
        }
        for hex in [
            "",
            "11112C",
            "11112C 40404040",
            "11112C D2",
            "11112C D2D2F1",
            "11112C F1F240F3",
            "11112C 60F1F2",
            "11112C F1F2C1",
            "11112C F1F2F3F4F5F6F7F8F9F0F1",
            "11112D F1F2F3",
            "F1F2F3",
            "1111",
        ] {
            assert!(matches!(keyed_in(hex), Keyed::Malformed), "{hex}");
        }
    }

    #[test]
    fn keys() {
        let key_at = |prompt: PasscodePrompt, aid| {
            answer(&Input { row: 1, column: 1, aid, body: &[] }, &Prompt::Passcode(Box::new(prompt)), CodePage::CP037)
        };
        let all = PasscodePrompt { keys: Keys { resend: true, other: true, maintain: true }, ..prompt(None) };
        assert!(matches!(key_at(all.clone(), Aid::F6), Keyed::Other));
        assert!(matches!(key_at(all, Aid::F9), Keyed::Maintain));
        let none = PasscodePrompt { keys: Keys::default(), ..prompt(None) };
        for aid in [Aid::F5, Aid::F6, Aid::F9] {
            assert!(matches!(key_at(none.clone(), aid), Keyed::Nothing), "{aid:?}");
        }
        let key = |aid| key_at(prompt(None), aid);
        assert!(matches!(key(Aid::ENTER), Keyed::Malformed));
        assert!(matches!(key(Aid::F3), Keyed::Exit));
        assert!(matches!(key(Aid::F5), Keyed::Resend));
        assert!(matches!(key(Aid::F12), Keyed::Cancel));
        for aid in [Aid::HELP, Aid::CLEAR, Aid::PA1, Aid::F1, Aid::ROLL_UP, Aid(0)] {
            assert!(matches!(key(aid), Keyed::Nothing), "{aid:?}");
        }
    }

    #[test]
    fn answers_of_real_clients() {
        // GNU tn5250 sends what was keyed, tn5250j the whole field.
        for hex in ["112C F1 11112C F1F2F3F4F5F6", "1132 F1 11112C F1F2F3F4F5F6 40404040"] {
            let data = bytes(hex);
            let keyed =
                answer(&input::parse(&data).unwrap(), &Prompt::Passcode(Box::new(prompt(None))), CodePage::CP037);
            assert!(matches!(&keyed, Keyed::Passcode(passcode) if passcode.expose() == "123456"));
            assert!(!format!("{keyed:?}").contains("123"));
        }
    }

    proptest! {
        #[test]
        fn any_answer(data: Vec<u8>) {
            if let Ok(input) = input::parse(&data)
                && let Keyed::Passcode(passcode) = answer(&input, &Prompt::Passcode(Box::new(prompt(None))), CodePage::CP037)
            {
                let digits = passcode.expose().trim_start_matches(|first: char| first.is_ascii_uppercase());
                prop_assert!(passcode.expose().len() - digits.len() <= 1);
                prop_assert!(digits.bytes().all(|byte| byte.is_ascii_digit()));
            }
        }
    }
}
