//! What keys do to fields, and what goes to the host then; the expected bytes are written out from RFC 1205, section 5.

use proxy_tn5250::ebcdic::CodePage;
use proxy_tn5250::input::Aid;
use proxy_tn5250::record::{self, Opcode};

use super::display::{Display, Lock, content};
use super::keyboard::{Key, Slip};
use super::picture::Picture;
use proxy_tn5250::record::Flags;

/// A display of 24x80 on which the host wrote `orders` and waits with `read`.
fn display(orders: &[u8], read: u8) -> Display {
    let mut display = Display::new(CodePage::CP037, false);
    host(&mut display, &[&[0x04, 0x40, 0x04, 0x11, 0x00, 0x18][..], orders, &[0x04, read, 0x00, 0x00]].concat());
    display
}

/// Gives the display a record; what comes back is the data of its answers.
fn host(display: &mut Display, data: &[u8]) -> Vec<Vec<u8>> {
    let content = content(Flags(0), Opcode::PUT_GET, data);
    let answers = display.apply(&record::parse(&content).unwrap());
    answers.iter().map(|answer| record::parse(answer).unwrap().data.to_vec()).collect()
}

/// An input field whose first data cell is at row, column.
fn field(row: u8, column: u8, word: u16, attribute: u8, length: u8) -> Vec<u8> {
    let [high, low] = word.to_be_bytes();
    vec![0x11, row, column - 1, 0x1D, high, low, attribute, 0, length]
}

fn type_text(display: &mut Display, text: &str) {
    for character in text.chars() {
        display.press(&Key::Char(character)).unwrap();
    }
}

fn press(display: &mut Display, keys: &[Key]) {
    for key in keys {
        assert_eq!(display.press(key), Ok(None), "{key:?}");
    }
}

/// Presses a key that reports; the record's data.
fn report(display: &mut Display, aid: Aid) -> Vec<u8> {
    let content = display.press(&Key::Aid(aid)).unwrap().unwrap();
    record::parse(&content).unwrap().data.to_vec()
}

fn row(display: &Display, row: usize) -> String {
    Picture::of(display).row(row - 1, false).trim_end().to_owned()
}

#[test]
fn modified_fields_are_sent_with_their_places() {
    let orders = [field(6, 53, 0x4020, 0x24, 10), field(7, 53, 0x4000, 0x27, 10), field(8, 53, 0x4800, 0x24, 3)];
    let mut display = display(&orders.concat(), 0x52);
    assert_eq!(display.cursor(), (6, 53));
    type_text(&mut display, "anna");
    press(&mut display, &[Key::Tab]);
    type_text(&mut display, "x y");
    assert_eq!(row(&display, 7), "", "a hidden field shows nothing");
    let sent = report(&mut display, Aid::ENTER);
    let expected = [
        &[7, 56, 0xF1][..],
        &[0x11, 6, 53, 0xC1, 0xD5, 0xD5, 0xC1],
        &[0x11, 7, 53, 0xA7, 0x40, 0xA8],
        // The host said that this one is modified; it holds nulls.
        &[0x11, 8, 53],
    ];
    assert_eq!(sent, expected.concat());
    assert_eq!(display.lock(), Lock::System);
    assert_eq!(display.press(&Key::Char('a')), Err(Slip::Locked));
    assert_eq!(display.press(&Key::Aid(Aid::ENTER)), Err(Slip::Locked), "one record for one read");
}

#[test]
fn the_other_reads_have_their_own_forms() {
    let orders = [field(6, 53, 0x4000, 0x24, 4), field(7, 53, 0x4000, 0x24, 2)].concat();
    let keyed = |read: u8| {
        let mut display = display(&orders, read);
        press(&mut display, &[Key::Right]);
        type_text(&mut display, "a");
        report(&mut display, Aid::ENTER)
    };
    assert_eq!(keyed(0x52), [6, 55, 0xF1, 0x11, 6, 53, 0x40, 0x81]);
    assert_eq!(keyed(0x82), [6, 55, 0xF1, 0x11, 6, 53, 0x00, 0x81, 0x00, 0x00]);
    assert_eq!(keyed(0x42), [6, 55, 0xF1, 0x40, 0x81, 0x40, 0x40, 0x40, 0x40]);
    let mut untouched = display(&orders, 0x42);
    assert_eq!(report(&mut untouched, Aid::ENTER), [6, 53, 0xF1], "nothing modified, nothing sent");
}

#[test]
fn masked_function_keys_send_no_fields() {
    // F3 is the third bit from the right of the last byte, F13 the fifth of the middle one.
    let header = [0x01, 0x07, 0, 0, 0, 24, 0b0000_0000, 0b0001_0000, 0b0000_0100];
    let orders = [&header[..], &field(6, 53, 0x4000, 0x24, 4)].concat();
    for (aid, fields) in [
        (Aid::ENTER, true),
        (Aid::F3, false),
        (Aid::F5, true),
        (Aid(0xB1), false),
        (Aid(0xB2), true),
        (Aid::CLEAR, false),
    ] {
        let mut display = display(&orders, 0x52);
        type_text(&mut display, "a");
        assert_eq!(report(&mut display, aid).len() > 3, fields, "{aid:?}");
    }
}

#[test]
fn editing_stays_within_the_field() {
    let mut display = display(&[field(6, 2, 0x4000, 0x24, 4), field(7, 2, 0x4000, 0x24, 4)].concat(), 0x52);
    type_text(&mut display, "abcd");
    assert_eq!(display.cursor(), (7, 2), "a full field leads to the next");
    press(&mut display, &[Key::BackTab, Key::Insert]);
    assert_eq!(display.press(&Key::Char('x')), Err(Slip::Full));
    press(&mut display, &[Key::Right, Key::Delete]);
    assert_eq!(row(&display, 6), " acd");
    type_text(&mut display, "x");
    assert_eq!(row(&display, 6), " axcd");
    press(&mut display, &[Key::Backspace, Key::End, Key::Reset]);
    assert_eq!((row(&display, 6).as_str(), display.cursor()), (" acd", (6, 5)));
    press(&mut display, &[Key::Home, Key::Right, Key::FieldExit]);
    assert_eq!((row(&display, 6).as_str(), display.cursor()), (" a", (7, 2)));
    press(&mut display, &[Key::EraseInput]);
    assert_eq!((row(&display, 6).as_str(), display.cursor()), ("", (6, 2)));
    press(&mut display, &[Key::Up]);
    assert_eq!(display.press(&Key::Char('x')), Err(Slip::Protected));
}

#[test]
fn shifts_and_adjustment_are_kept() {
    let mut numbers = display(&[field(6, 2, 0x4705, 0x24, 5), field(7, 2, 0x4500, 0x24, 3)].concat(), 0x52);
    assert_eq!(numbers.press(&Key::Char('a')), Err(Slip::Character));
    type_text(&mut numbers, "42");
    press(&mut numbers, &[Key::FieldMinus]);
    assert_eq!(row(&numbers, 6), " 0042-");
    assert_eq!(numbers.press(&Key::Char('-')), Err(Slip::Character));
    type_text(&mut numbers, "7");
    // The sign goes as the zone of the last digit.
    assert_eq!(report(&mut numbers, Aid::ENTER), [7, 3, 0xF1, 0x11, 6, 2, 0xF0, 0xF0, 0xF4, 0xD2, 0x11, 7, 2, 0xF7]);

    let mut auto = display(&[field(6, 2, 0x40A6, 0x24, 2), field(7, 2, 0x5000, 0x24, 3)].concat(), 0x52);
    assert_eq!(auto.press(&Key::Dup), Err(Slip::Character));
    type_text(&mut auto, "a");
    let sent = auto.press(&Key::Char('b')).unwrap().unwrap();
    assert_eq!(record::parse(&sent).unwrap().data[2..], [0xF1, 0x11, 6, 2, 0xC1, 0xC2], "auto-enter, upper case");
    let mut dup = display(&field(7, 2, 0x5000, 0x24, 3), 0x52);
    type_text(&mut dup, "a");
    press(&mut dup, &[Key::Dup]);
    assert_eq!(row(&dup, 7), " a**");
    assert_eq!(report(&mut dup, Aid::ENTER)[3..], [0x11, 7, 2, 0x81, 0x1C, 0x1C]);
}

#[test]
fn an_error_covers_its_line_until_reset() {
    let text = [0x11, 24, 1, 0x22, 0xC1, 0xC2];
    let mut display = display(&[&text[..], &field(6, 2, 0x4000, 0x24, 4)].concat(), 0x52);
    host(&mut display, &[0x04, 0x21, 0x13, 6, 4, 0x22, 0xC5, 0xD9, 0x20]);
    assert_eq!((row(&display, 24).as_str(), display.cursor(), display.lock()), (" ER", (6, 4), Lock::Error));
    assert_eq!(display.press(&Key::Char('a')), Err(Slip::Error));
    press(&mut display, &[Key::Reset]);
    assert_eq!((row(&display, 24).as_str(), display.lock()), (" AB", Lock::Free));
    type_text(&mut display, "a");
    assert!(display.awaits_operator(), "the read is still there");
}

#[test]
fn what_is_keyed_into_a_hidden_field_stays_here() {
    let mut display = display(&field(6, 2, 0x4000, 0x27, 8), 0x52);
    type_text(&mut display, "sesame");
    assert!(!format!("{display:?}").contains("sesame"));
    let keyed = CodePage::CP037.encode_all("sesame");
    let holds = |data: &[u8]| data.windows(keyed.len()).any(|window| window == keyed);
    for question in [&[0x04, 0x62][..], &[0x04, 0x02], &[0x04, 0x03, 0, 0, 0, 0, 0], &[0x04, 0x66]] {
        let answers = host(&mut display, question);
        assert!(!answers.is_empty() && !answers.iter().any(|answer| holds(answer)), "{question:02X?}");
    }
    // Asked for by a read, it goes, as it must.
    assert!(host(&mut display, &[0x04, 0x72]).iter().any(|answer| holds(answer)));
    assert!(holds(&report(&mut display, Aid::ENTER)));
    // Written over by the host, it is gone.
    host(&mut display, &[0x04, 0x11, 0x00, 0x18, 0x11, 6, 2, 0x02, 6, 9, 0x00, 0x04, 0x52, 0x00, 0x00]);
    assert!(!holds(&report(&mut display, Aid::ENTER)));
}

#[test]
fn saved_screens_come_back_with_all_that_was_keyed() {
    let orders = [field(6, 2, 0x4000, 0x24, 8), field(7, 2, 0x4000, 0x27, 8)].concat();
    let mut display = display(&orders, 0x52);
    type_text(&mut display, "one");
    press(&mut display, &[Key::Tab]);
    type_text(&mut display, "two");
    let saved = host(&mut display, &[0x04, 0x02]).remove(0);
    host(&mut display, &[0x04, 0x40, 0x04, 0x11, 0x00, 0x18, 0xC1, 0x04, 0x52, 0x00, 0x00]);
    assert_eq!(row(&display, 6), "");
    host(&mut display, &saved);
    assert!(!display.awaits_operator(), "not before a read");
    host(&mut display, &[0x04, 0x52, 0x00, 0x00]);
    assert_eq!((row(&display, 6).as_str(), display.cursor()), (" one", (7, 5)));
    assert_eq!(
        report(&mut display, Aid::ENTER),
        [7, 5, 0xF1, 0x11, 6, 2, 0x96, 0x95, 0x85, 0x11, 7, 2, 0xA3, 0xA6, 0x96]
    );
    let unknown = host(&mut display, &[0x04, 0x12, 0x01, 0x02]);
    assert_eq!(unknown, [[0x10, 0x05, 0x01, 0x27]], "what nobody saved is refused");
}

#[test]
fn what_a_narrow_display_cannot_do_is_refused() {
    let mut narrow = Display::new(CodePage::CP037, false);
    assert_eq!(host(&mut narrow, &[0x04, 0x20, 0x00]), [[0x10, 0x03, 0x01, 0x01]]);
    assert_eq!(host(&mut narrow, &[0x04, 0x11, 0x00, 0x18, 0x11, 25, 1, 0xC1]), [[0x10, 0x05, 0x01, 0x22]]);
    let mut wide = Display::new(CodePage::CP037, true);
    assert!(host(&mut wide, &[0x04, 0x20, 0x00, 0x04, 0x11, 0x00, 0x18, 0x11, 27, 132, 0xC1]).is_empty());
    assert_eq!(Picture::of(&wide).columns(), 132);
}
