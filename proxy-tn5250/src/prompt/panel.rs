//! Panels: screens of lines and fields, for choosing, enrolling, and looking at one's own contacts.
//!
//! ```text
//!   row 7   the first line; each line takes one row, a field that has no room behind its label two
//!   row 21  the last one; what comes after it is left out
//!   row 23  the keys        row 24  the message
//! ```
//!
//! Drawing and reading go by one layout, so that what is read out of a field is what was keyed into it.

use policy::{Filled, Panel, PanelKey, PanelLine, Secret};

use super::{
    BLUE, FREE, Field, GREEN, HIDDEN, Item, Keyed, LABEL, LAST_ROW, RED, VALUE, WHITE, frame, leader, record, text_of,
};
use crate::ebcdic::CodePage;
use crate::input::{Aid, Input};

const FIRST_ROW: u8 = 7;
const FINAL_ROW: u8 = 21;
/// The longest field behind a label.
const SHORT_MAX: u8 = 36;
/// The longest field of all.
const LENGTH_MAX: u8 = 76;
/// Where the text behind an option's field begins.
const OPTION: u8 = 5;
/// What a field looks like that shows what is keyed.
const UNDERLINED: u8 = 0x24;

/// The screen: the content of one record.
pub(super) fn screen(panel: &Panel, page: CodePage) -> Vec<u8> {
    let (items, fields) = layout(panel);
    let message =
        panel.message.as_ref().map(|(text, is_mistake)| (if *is_mistake { RED } else { WHITE }, text.as_str()));
    record(&items, &fields, message, page)
}

/// What the user did.
pub(super) fn answer(input: &Input<'_>, panel: &Panel, page: CodePage) -> Keyed {
    let key = match input.aid {
        Aid::ENTER => Some(PanelKey::Enter),
        Aid::F3 => Some(PanelKey::F3),
        Aid::F5 => Some(PanelKey::F5),
        Aid::F6 => Some(PanelKey::F6),
        Aid::F9 => Some(PanelKey::F9),
        Aid::F12 => Some(PanelKey::F12),
        _ => None,
    };
    let key = key.filter(|key| *key == PanelKey::Enter || panel.keys.iter().any(|(known, _)| known == key));
    match (key, input.aid) {
        (Some(key), _) => match fields(input, panel, page) {
            Some(fields) => Keyed::Panel(Filled { key, fields }),
            None => Keyed::Malformed,
        },
        (None, Aid::F3) => Keyed::Exit,
        (None, Aid::F12) => Keyed::Cancel,
        (None, _) => Keyed::Nothing,
    }
}

/// What stands in each field: what was keyed, or else what stood there at first.
fn fields(input: &Input<'_>, panel: &Panel, page: CodePage) -> Option<Vec<Secret<String>>> {
    let (_, fields) = layout(panel);
    let keyed = input.modified(|_, _| None).ok()?;
    fields
        .iter()
        .map(|field| match keyed.iter().find(|keyed| (keyed.row, keyed.column) == (field.row, field.column)) {
            Some(keyed) => text_of(keyed.data, field.length, page),
            None => Some(Secret::new(field.value.to_owned())),
        })
        .collect()
}

fn layout(panel: &Panel) -> (Vec<Item>, Vec<Field<'_>>) {
    let mut items = frame(panel.id, panel.title, Some(&panel.heading));
    let mut fields = Vec::new();
    let mut row = FIRST_ROW;
    for line in &panel.lines {
        if row > FINAL_ROW {
            break;
        }
        match line {
            PanelLine::Blank => {}
            PanelLine::Text(text) => items.push(Item::new(row, LABEL, BLUE, text.as_str())),
            PanelLine::Strong(text) => items.push(Item::new(row, LABEL, WHITE, text.as_str())),
            PanelLine::Value { label, value } => {
                items.push(Item::new(row, LABEL, GREEN, leader(label, 35, ":")));
                items.push(Item::new(row, VALUE, WHITE, value.as_str()));
            }
            PanelLine::Key { label, key } => {
                items.push(Item::new(row, LABEL, GREEN, leader(label, 35, ":")));
                items.push(Item::new(row, VALUE, WHITE, key.expose()));
            }
            PanelLine::Option { text } => {
                fields.push(Field { row, column: LABEL, length: 1, attribute: UNDERLINED, ffw: FREE, value: "" });
                items.push(Item::new(row, OPTION, GREEN, text.as_str()));
            }
            PanelLine::Field { label, length, hidden, value } => {
                let attribute = if *hidden { HIDDEN } else { UNDERLINED };
                let length = (*length).clamp(1, LENGTH_MAX);
                items.push(Item::new(row, LABEL, GREEN, leader(label, 35, ".")));
                let (at, column) = if length > SHORT_MAX { (row.saturating_add(1), LABEL) } else { (row, VALUE) };
                row = at;
                fields.push(Field { row, column, length: length.into(), attribute, ffw: FREE, value });
            }
        }
        row = row.saturating_add(1);
    }
    let mut keys = "Enter=Continue".to_owned();
    for (key, word) in panel.keys {
        if *key == PanelKey::Enter {
            keys = format!("Enter={word}");
        } else {
            keys.push_str("   ");
            keys.push_str(name(*key));
            keys.push('=');
            keys.push_str(word);
        }
    }
    for (key, word) in [(PanelKey::F3, "F3=Exit"), (PanelKey::F12, "F12=Cancel")] {
        if !panel.keys.iter().any(|(known, _)| *known == key) {
            keys.push_str("   ");
            keys.push_str(word);
        }
    }
    items.push(Item::new(LAST_ROW.saturating_sub(1), LABEL, BLUE, keys));
    (items, fields)
}

const fn name(key: PanelKey) -> &'static str {
    match key {
        PanelKey::Enter => "Enter",
        PanelKey::F3 => "F3",
        PanelKey::F5 => "F5",
        PanelKey::F6 => "F6",
        PanelKey::F9 => "F9",
        PanelKey::F12 => "F12",
    }
}

#[cfg(test)]
mod tests {
    use policy::Heading;
    use proptest::prelude::*;

    use super::*;
    use crate::input;
    use crate::record;
    use crate::screen::Screen;

    const PAGE: CodePage = CodePage::CP037;

    fn panel(lines: Vec<PanelLine>) -> Panel {
        Panel {
            heading: Heading {
                host: "HOST1".into(),
                gateway: "GATE1".into(),
                date: "2026-11-27".into(),
                time: "08:00:00".into(),
                source: [192, 0, 2, 7].into(),
            },
            id: "SPT1003",
            title: "Sign On - Choose a Way",
            lines,
            keys: &[(PanelKey::F5, "Refresh")],
            message: None,
        }
    }

    fn lines() -> Vec<PanelLine> {
        vec![
            PanelLine::Text("Type 1 beside one line, then press Enter.".into()),
            PanelLine::Blank,
            PanelLine::Option { text: "E-mail  a***".into() },
            PanelLine::Option { text: "Authenticator app".into() },
            PanelLine::Field { label: "Code", length: 10, hidden: true, value: String::new() },
            PanelLine::Field { label: "Address", length: 76, hidden: false, value: "a b".into() },
            PanelLine::Value { label: "User", value: "ANNA".into() },
        ]
    }

    fn shown(panel: &Panel) -> Screen {
        let content = screen(panel, PAGE);
        let record = record::parse(&content).unwrap();
        let mut screen = Screen::new();
        screen.apply_data(record.data).unwrap();
        screen
    }

    #[test]
    fn a_panel_shows_its_lines_and_reads_its_fields() {
        let panel = panel(lines());
        let screen = shown(&panel);
        let row = |row| screen.row_text(row, PAGE).trim_end().to_owned();
        assert_eq!(row(1), " SPT1003                    Sign On - Choose a Way");
        assert_eq!(row(9), "    E-mail  a***");
        assert_eq!(row(12), " Address . . . . . . . . . . . . . .");
        assert_eq!(row(13), " a b");
        assert_eq!(row(14), " User  . . . . . . . . . . . . . . :   ANNA");
        assert_eq!(row(23), " Enter=Continue   F5=Refresh   F3=Exit   F12=Cancel");
        let places: Vec<_> = screen.fields().iter().map(|field| (screen.place(field.address), field.length)).collect();
        assert_eq!(places, [((9, 2), 1), ((10, 2), 1), ((11, 40), 10), ((13, 2), 76)]);
        let hidden: Vec<_> = screen.fields().iter().map(|field| screen.is_hidden(field)).collect();
        assert_eq!(hidden, [false, false, true, false]);

        // SBA 10,2 "1", SBA 11,40 " x9" with a blank before.
        let body = [0x11, 10, 2, 0xF1, 0x11, 11, 40, 0x40, 0xA7, 0xF9];
        let answered = answer(&Input { row: 10, column: 3, aid: Aid::ENTER, body: &body }, &panel, PAGE);
        let Keyed::Panel(filled) = answered else { panic!("{answered:?}") };
        let fields: Vec<_> = filled.fields.iter().map(|field| field.expose().as_str()).collect();
        assert_eq!((filled.key, fields), (PanelKey::Enter, vec!["", "1", "x9", "a b"]));
    }

    #[test]
    fn keys_that_the_panel_does_not_know_leave_or_do_nothing() {
        let panel = panel(lines());
        let key = |aid| answer(&Input { row: 1, column: 1, aid, body: &[] }, &panel, PAGE);
        assert!(matches!(key(Aid::F5), Keyed::Panel(Filled { key: PanelKey::F5, .. })));
        assert!(matches!(key(Aid::F3), Keyed::Exit));
        assert!(matches!(key(Aid::F12), Keyed::Cancel));
        assert!(matches!(key(Aid::F6), Keyed::Nothing));
        assert!(matches!(key(Aid::HELP), Keyed::Nothing));
    }

    #[test]
    fn what_has_no_room_is_left_out() {
        let panel = panel((0..40).map(|n| PanelLine::Option { text: n.to_string() }).collect());
        assert_eq!(shown(&panel).fields().len(), 15);
    }

    proptest! {
        #[test]
        fn any_answer_has_a_value_for_each_field(data: Vec<u8>) {
            let panel = panel(lines());
            if let Ok(input) = input::parse(&data) && let Keyed::Panel(filled) = answer(&input, &panel, PAGE) {
                prop_assert_eq!(filled.fields.len(), 4);
                prop_assert!(filled.fields.iter().all(|field| field.expose().chars().count() <= 76));
            }
        }
    }
}
