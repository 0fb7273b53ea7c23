//! Known answers from tn5250.md and the recorded traces, and properties over arbitrary tokens.

use proptest::prelude::*;

use super::*;
use crate::display::tests::{Owned, any_tokens, bytes};
use crate::display::{parse, write};
use crate::record;
use crate::traces::{Stream, streams};

/// The default sign-on display as in tn5250.md §5.1, its texts shortened.
pub(crate) const SIGN_ON: &str = "0440 04110018 01070000001900000 0
    110116 22 40E2898795 D695 02013740 20
    11022F 20 E2A8A2A38594 20 110245 20 E3C5E2E3E2E8E240 20
    110610 20 E4A28599 20 110634 1D402024000A 00000000000000000000
    110734 1D402027000A
    110810 20 D799968799819 4 20 110834 1D400024000A 00000000000000000000
    110910 20 D48595A4 20 110934 1D400024000A 00000000000000000000
    110A10 20 D3898299 20 110A34 1D400024000A 00000000000000000000
    110710 20 D781A2A2A6969984 20 110734 27 02073E00
    111827 22 404DC35D40 40 20
    04520000";

pub(crate) fn screen(hex: &str) -> Screen {
    let mut screen = Screen::new();
    screen.apply_data(&bytes(hex)).unwrap();
    screen
}

/// A display with one WRITE TO DISPLAY.
pub(crate) fn drawn(orders: &str) -> Screen {
    screen(&format!("0440 04110000 {orders}"))
}

fn refused(orders: &str) -> Error {
    let mut screen = Screen::new();
    let error = screen.apply_data(&bytes(&format!("0440 04110000 {orders}"))).unwrap_err();
    assert!(!screen.is_known() && !screen.is_exact());
    error
}

/// The image that a repaint makes on a client which shows something else.
fn repainted(screen: &Screen) -> Screen {
    let mut copy = Screen::new();
    copy.apply_data(&bytes("0420 00 0411 0000 110203 C1 1D 4000 20 0005 120381")).unwrap();
    copy.apply_data(&screen.repaint()).unwrap();
    copy
}

/// The data of all records that the host sends in a trace; `None` if there are no traces here.
pub(crate) fn host_records(trace: &str) -> Option<Vec<Vec<u8>>> {
    let stream = streams().into_iter().find(|stream| !stream.is_client && stream.name == trace)?;
    Some(display_data(&stream))
}

/// The data of the records of a display.
fn display_data(stream: &Stream) -> Vec<Vec<u8>> {
    let contents = stream.records();
    let records = contents.iter().filter_map(|(_, content)| record::parse(content).ok());
    records.filter(|record| record.reserved == 0).map(|record| record.data.to_vec()).collect()
}

fn text(screen: &Screen, row: u8) -> String {
    screen.row_text(row, crate::ebcdic::CodePage::CP037)
}

#[test]
fn sign_on_display() {
    let screen = screen(SIGN_ON);
    assert_eq!((screen.rows(), screen.columns(), screen.cells().len()), (24, 80, 1920));
    let fields: Vec<_> = screen
        .fields()
        .iter()
        .map(|field| (screen.place(field.address), field.length, field.ffw, screen.is_hidden(field)))
        .collect();
    assert_eq!(
        fields,
        [
            ((6, 53), 10, 0x4020, false),
            ((7, 53), 10, 0x4020, true),
            ((8, 53), 10, 0x4000, false),
            ((9, 53), 10, 0x4000, false),
            ((10, 53), 10, 0x4000, false),
        ]
    );
    assert_eq!(screen.pending_read(), Some(Read::MdtFields));
    assert_eq!(screen.header(), Some([0, 0, 0, 0x19, 0, 0, 0].as_slice()));
    assert_eq!(screen.error_row(), 24, "row 25 is not on this display");
    assert_eq!(screen.cursor(), (6, 53));
    assert!(screen.is_known() && screen.is_exact());
    assert_eq!(screen.row(6).get(52..63), Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20].as_slice()));
    assert_eq!(repainted(&screen), screen);
}

#[test]
fn a_real_sign_on_and_its_menu() {
    let Some(records) = host_records("xtn5250/login.jsonl") else { return };
    let mut screen = Screen::new();
    let mut shown = Vec::new();
    for record in &records {
        screen.apply_data(record).unwrap();
        shown.push(screen.clone());
    }
    let first = shown.first().unwrap();
    assert_eq!(text(first, 1).trim(), "Sign On");
    assert_eq!(first.fields().len(), 5);
    let menu = shown.last().unwrap();
    assert!((1..=24).any(|row| text(menu, row).contains("===>")), "{menu:?}");
    assert_eq!(menu.fields().iter().filter(|field| !field.is_bypass()).count(), 1);
    assert_eq!(menu.pending_read(), Some(Read::MdtFields));
}

#[test]
fn all_recorded_hosts() {
    for stream in streams().iter().filter(|stream| stream.is_5250 && !stream.is_client) {
        let mut screen = Screen::new();
        for data in display_data(stream) {
            assert_eq!(parse(&data).map(|tokens| write(&tokens)), Ok(data.clone()), "{}", stream.name);
            screen.apply_data(&data).unwrap();
            if screen.is_exact() {
                assert_eq!(repainted(&screen), screen, "{}", stream.name);
            }
        }
    }
}

#[test]
fn a_refused_sign_on_is_redrawn() {
    let Some(records) = host_records("ts5250/pub400-signon-to-menu.jsonl") else { return };
    let [first, second] = records.as_slice() else { panic!("{}", records.len()) };
    let mut screen = Screen::new();
    screen.apply_data(first).unwrap();
    let user = screen.index_at(5, 25).unwrap();
    let password = screen.index_at(6, 25).unwrap();
    assert!(!screen.is_hidden(&screen.fields()[user]) && screen.is_hidden(&screen.fields()[password]));
    assert_eq!(screen.fields()[password].length, 128);
    screen.set_field_data(user, &bytes("D4C1D9D6"));
    screen.set_field_data(password, &bytes("A285839985A3"));
    assert!(screen.fields().iter().all(Field::is_modified));
    assert!(!screen.repaint().windows(6).any(|window| window == bytes("A285839985A3")));
    screen.apply_data(second).unwrap();
    assert_eq!(screen.field_data(&screen.fields()[user]), bytes("D4C1D9D6 000000000000"));
    assert!(!screen.fields().iter().any(Field::is_modified), "a retry leaves the user out");
    assert!(
        text(&screen, 24).starts_with(" CPF1120 - User MARO does not exist")
            || text(&screen, 24).starts_with("CPF1120")
    );
    assert_eq!(repainted(&screen), screen);
}

#[test]
fn fills_and_erases() {
    let screen = drawn("110102 02010 4C1 110103 0301 03 02 FF");
    assert_eq!(screen.row(1).get(..5), Some([0, 0xC1, 0, 0xC1, 0].as_slice()));
    let screen = drawn("110102 020104 04 C2");
    assert_eq!(screen.row(1).get(..5), Some([0, 4, 4, 4, 0xC2].as_slice()), "RA moves on and its operand may be 04");
    assert_eq!(repainted(&screen), screen);
    assert_eq!(drawn("11185 0 021850 C1").cells().last(), Some(&0xC1));
    assert_eq!(refused("110102 020101 C1").what, "address before the buffer address");
    assert_eq!(refused("02195 0 C1").what, "address outside the display");
    assert_eq!(refused("110000").what, "address outside the display");
    assert_eq!(refused("110200").what, "address outside the display");
    assert_eq!(refused("110100 C1").what, "write past the end of the display");
    assert_eq!(refused("111850 C1C2").what, "write past the end of the display");
}

#[test]
fn transparent_data() {
    let screen = drawn("110101 10 0004 0411FF1D 110105 20");
    assert_eq!(screen.row(1).get(..5), Some([4, 0x11, 0xFF, 0x1D, 0x20].as_slice()));
    assert_eq!(repainted(&screen), screen);
}

#[test]
fn fields() {
    let screen = drawn("0107000000180000 00 110201 1D 4000 8200 8403 24 0004 110301 1D 6000 20 0002 1D 3F 0005 C1");
    let [first, second] = screen.fields() else { panic!("an output field is not in the format table") };
    assert_eq!((screen.place(first.address), first.length, first.attribute), ((2, 2), 4, 0x24));
    assert_eq!(screen.fcws(first), [0x8200, 0x8403]);
    assert!(screen.fcws(second).is_empty() && second.is_bypass());
    assert_eq!(screen.row(2).get(..6), Some([0x24, 0, 0, 0, 0, 0x20].as_slice()));
    assert_eq!(screen.row(3).get(..4), Some([0x20, 0x3F, 0xC1, 0x20].as_slice()));
    assert_eq!(screen.field_at(2, 5), Some(first));
    assert_eq!(screen.field_at(2, 6), None);
    assert_eq!(screen.field_at(25, 1), None);
    assert_eq!(repainted(&screen), screen);

    let replaced = "110201 1D 4000 8200 24 0004 110301 1D 4000 8301 8302 24 0002 110201 1D 4800 8501 8601 26 0006";
    let screen = drawn(replaced);
    let [first, second] = screen.fields() else { panic!() };
    assert_eq!((first.ffw, first.length, screen.fcws(first)), (0x4800, 6, [0x8501, 0x8601].as_slice()));
    assert_eq!(screen.fcws(second), [0x8301, 0x8302]);
    assert_eq!(repainted(&screen), screen);

    let corner = drawn("110100 1D 4000 24 0003 C1C2");
    assert_eq!(corner.fields().first().map(|field| (field.address, field.attribute)), Some((0, 0x24)));
    assert_eq!(corner.row(1).get(..4), Some([0xC1, 0xC2, 0, 0x20].as_slice()));
    assert_eq!(repainted(&corner), corner);

    assert_eq!(drawn("11184E 1D 4000 24 0002").fields().len(), 1);
    assert_eq!(refused("11184F 1D 4000 24 0002").what, "field past the end of the display");
    assert!(drawn("110201 1D 4000 24 0004 0100").fields().is_empty());
    assert!(drawn("110201 1D 4000 24 0004 0450").fields().is_empty());
    let many: String =
        (0..=256_u16).map(|n| format!("11{:02X}{:02X} 1D 4000 20 0001 ", 1 + n / 20, 1 + n % 20 * 4)).collect();
    assert_eq!(refused(&many).what, "format table full");
}

#[test]
fn hidden_is_judged_in_the_image() {
    let field = |orders: &str| {
        let screen = drawn(orders);
        screen.is_hidden(screen.fields().first().unwrap())
    };
    assert!(field("110201 1D 4000 27 0004"));
    assert!(field("110201 1D 4000 24 0004 110201 27"));
    assert!(!field("110201 1D 4000 27 0004 110201 24"));
    assert!(field("110201 1D 4000 24 0004 110201 2F"));
    assert!(field("110100 1D 4000 3F 0004"));
    assert!(field("110101 27 110201 1D 4000 24 0004 110201 C1"), "the attribute before holds on");
}

#[test]
fn hidden_contents_stay_out() {
    let screen = drawn("110201 1D 4000 27 0004 C1C2C3C4 110301 1D 4000 24 0004 C5C6C7C8");
    let repaint = screen.repaint();
    assert!(!repaint.windows(4).any(|window| window == bytes("C1C2C3C4")));
    assert!(repaint.windows(4).any(|window| window == bytes("C5C6C7C8")));
    assert_eq!(text(&screen, 2).trim(), "");
    assert_eq!(text(&screen, 3).trim(), "EFGH");
    assert!(!format!("{screen:?}").contains("C1"));
}

#[test]
fn operator_input_and_control_characters() {
    let orders = "110201 1D 4000 24 0003 C1C2C3 110301 1D 6800 24 0003 C4C5C6 110401 1D 4800 24 0003 C7C8C9";
    let mut image = drawn(orders);
    assert!(image.set_field_data(0, &bytes("D1")));
    assert!(!image.set_field_data(3, &bytes("D1")));
    assert!(image.set_field_data(2, &bytes("D1D2D3D4")));
    let state = |cc1: &str| {
        let mut image = image.clone();
        image.apply_data(&bytes(&format!("0411{cc1}00"))).unwrap();
        let field = |field: &Field| (image.field_data(field)[0], field.is_modified());
        image.fields().iter().map(field).collect::<Vec<_>>()
    };
    assert_eq!(state("00"), [(0xD1, true), (0xC4, true), (0xD1, true)]);
    assert_eq!(state("20"), [(0xD1, true), (0xC4, true), (0xD1, true)]);
    assert_eq!(state("40"), [(0xD1, false), (0xC4, true), (0xD1, false)]);
    assert_eq!(state("60"), [(0xD1, false), (0xC4, false), (0xD1, false)]);
    assert_eq!(state("80"), [(0, true), (0xC4, true), (0, true)]);
    assert_eq!(state("A0"), [(0, false), (0xC4, true), (0, false)]);
    assert_eq!(state("C0"), [(0, false), (0xC4, true), (0, false)]);
    assert_eq!(state("E0"), [(0, false), (0xC4, false), (0, false)]);
}

#[test]
fn rolls() {
    let rows = "110101 F1 110201 F2 110301 F3 110401 F4 110301 120384";
    let column = |roll: &str| {
        let screen = screen(&format!("0440 04110000 {rows} {roll}"));
        ((1..=4).map(|row| screen.row(row)[0] & 0x0F).collect::<Vec<_>>(), screen.extended()[0].address / 80)
    };
    assert_eq!(column("0423 01 02 04"), (vec![1, 3, 4, 4], 1));
    assert_eq!(column("0423 81 02 04"), (vec![1, 2, 2, 3], 3));
    assert_eq!(column("0423 00 02 04"), (vec![1, 2, 3, 4], 2));
    assert_eq!(column("0423 1F 02 04"), (vec![1, 2, 3, 4], 2));
    assert_eq!(refused("0423 01 04 02").what, "roll");
    assert_eq!(refused("0423 01 01 19").what, "roll");
}

#[test]
fn sizes() {
    let mut wide = screen("042000 04110000 111B84 C1");
    assert_eq!((wide.rows(), wide.columns(), wide.cells().len()), (27, 132, 3564));
    assert_eq!(wide.cells().last(), Some(&0xC1));
    assert_eq!(wide.error_row(), 27);
    assert_eq!(repainted(&wide), wide);
    wide.apply_data(&bytes("042080")).unwrap();
    assert_eq!((wide.columns(), wide.cells().last()), (132, Some(&0)));
    wide.apply_data(&bytes("0440")).unwrap();
    assert_eq!((wide.columns(), wide.cells().len()), (80, 1920));
    assert_eq!(wide.apply_data(&bytes("042001")).unwrap_err().what, "display size");
}

#[test]
fn extended_attributes() {
    let mut screen = drawn("110203 120384 120180 C1 110203 120385 110101 120380");
    let attribute = |address, kind, value| Extended { address, kind, value };
    assert_eq!(screen.extended(), [attribute(0, 3, 0x80), attribute(82, 1, 0x80), attribute(82, 3, 0x85)]);
    assert_eq!(repainted(&screen), screen);
    screen.apply_data(&bytes("04110000 110101 03185 0 02 03")).unwrap();
    assert_eq!(screen.extended(), [attribute(82, 1, 0x80)]);
    assert_eq!(screen.row(2)[2], 0xC1, "only colours were erased");
    screen.apply_data(&bytes("0440")).unwrap();
    assert_eq!(screen.extended.capacity(), 0);
    assert_eq!(refused("120284").what, "extended attribute");
}

#[test]
fn error_line_goes_with_the_next_write() {
    let mut screen = screen(SIGN_ON);
    let before = screen.clone();
    screen.apply_data(&bytes("0421 130735 22 C5D9D9 20")).unwrap();
    assert_eq!(screen, before, "the row under the message comes back");
    assert_eq!(screen.error_line(), bytes("22C5D9D920"));
    assert_eq!(screen.cursor(), (7, 53));
    screen.apply_data(&bytes("04110000")).unwrap();
    assert!(screen.error_line().is_empty());
    assert_eq!(screen.apply_data(&bytes("0421 110101 C1")).unwrap_err().what, "order in an error line");
    assert_eq!(refused("042202 4F 1D 20 0000").what, "order in an error line");
}

#[test]
fn what_the_image_does_not_know() {
    let mut screen = drawn("15 0009 D951 8000000410");
    assert!(screen.is_known() && !screen.is_exact());
    screen.apply_data(&bytes("0440")).unwrap();
    assert!(screen.is_exact());
    screen.apply_data(&bytes("04F3 0005 D970 00")).unwrap();
    assert!(screen.is_exact());
    screen.apply_data(&bytes("0412 0440 0411")).unwrap();
    assert!(!screen.is_known());
    screen.apply_data(&bytes("0450 04110018 04520000")).unwrap();
    assert!(!screen.is_known(), "only a clear makes it known");
    assert_eq!(screen.answered(), Some(Read::MdtFields));
    assert_eq!(screen.pending_read(), None);
    screen.apply_data(&bytes("042080")).unwrap();
    assert!(screen.is_known());
    assert_eq!(screen.apply_data(&bytes("0499")).unwrap_err().what, "unknown command");
    assert!(!screen.is_known());
}

#[test]
fn cursor() {
    assert_eq!(drawn("").cursor(), (1, 1));
    assert_eq!(drawn("110201 1D 6000 20 0001 110301 1D 4000 20 0001").cursor(), (3, 2));
    assert_eq!(drawn("130505 130606").cursor(), (6, 6));
    let mut moved = drawn("130505 140707");
    assert_eq!((moved.cursor(), moved.home()), ((7, 7), Some((5, 5))));
    assert_eq!(repainted(&moved), moved);
    moved.apply_data(&bytes("04110040")).unwrap();
    assert_eq!(moved.cursor(), (7, 7));
    moved.apply_data(&bytes("04110008")).unwrap();
    assert_eq!(moved.cursor(), (5, 5));
}

#[test]
fn an_idle_image_is_small() {
    let mut image = screen(SIGN_ON);
    image.apply_data(&bytes(SIGN_ON)).unwrap();
    let heap = image.cells.len()
        + image.fields.capacity() * size_of::<Field>()
        + image.fcws.capacity() * 2
        + image.extended.capacity() * size_of::<Extended>()
        + image.error_line.capacity();
    assert!(heap < 2560, "{heap}");
    assert_eq!(size_of::<Field>(), 10);
    assert!(size_of::<Screen>() <= 160, "{}", size_of::<Screen>());
}

/// Everything of an image, also what equality leaves out.
fn all_of(screen: &Screen) -> impl PartialEq + core::fmt::Debug + use<> {
    let Screen { cells, extended, fields, fcws, error_line, address, pending, home, cursor, rows, .. } = screen.clone();
    let flags = [screen.known, screen.exact, screen.in_error_line];
    ((cells, extended, fields, fcws, error_line), (address, pending, home, cursor, rows, flags))
}

/// The part of `tokens` that applies without error, and its image.
fn applied(tokens: &[Owned]) -> (usize, Screen) {
    let mut screen = Screen::new();
    for (index, token) in tokens.iter().enumerate() {
        let before = screen.clone();
        if screen.apply(&token.token()).is_err() {
            return (index, before);
        }
    }
    (tokens.len(), screen)
}

proptest! {
    #[test]
    fn arbitrary_tokens_never_panic(tokens in any_tokens()) {
        let mut screen = Screen::new();
        for token in &tokens {
            let _ = screen.apply(&token.token());
            prop_assert_eq!(screen.cells().len(), usize::from(screen.rows()) * usize::from(screen.columns()));
            prop_assert!(screen.fields().len() <= FIELDS_MAX);
            prop_assert!(screen.fields().iter().all(|field| field.range().end <= screen.cells().len()));
            prop_assert_eq!(screen.fields().iter().map(|field| screen.fcws(field).len()).sum::<usize>(), screen.fcws.len());
            let _ = (screen.repaint(), screen.cursor(), screen.error_row());
        }
    }

    #[test]
    fn records_do_not_matter(tokens in any_tokens()) {
        let (count, image) = applied(&tokens);
        let tokens: Vec<Token<'_>> = tokens.iter().take(count).map(Owned::token).collect();
        let mut whole = Screen::new();
        prop_assert_eq!(whole.apply_data(&write(&tokens)), Ok(()));
        let mut pieces = Screen::new();
        for piece in tokens.chunk_by(|_, next| !write(&[*next]).starts_with(&[4])) {
            prop_assert_eq!(pieces.apply_data(&write(piece)), Ok(()));
        }
        prop_assert_eq!(all_of(&whole), all_of(&image));
        prop_assert_eq!(all_of(&pieces), all_of(&image));
    }

    #[test]
    fn a_repaint_makes_the_same_image(tokens in any_tokens()) {
        let (_, mut image) = applied(&tokens);
        let mut copy = repainted(&image);
        let hidden: Vec<_> = image.fields.iter().filter(|field| image.is_hidden(field)).map(Field::range).collect();
        for range in hidden {
            image.cells[range.clone()].fill(0);
            copy.cells[range].fill(0);
        }
        prop_assert_eq!(copy, image);
    }
}
