//! The host's sign-on display, recognised by its structure: tn5250 has no mark for it, and its texts and places can be
//! changed, its language is the host's.
//!
//! Sources: IBM i, "Changing the sign-on display file" (the order of the fields and their sizes must stay, and fields may
//! be added behind them), and recorded displays.
//!
//! A display is a form if, in the image and not only in the record,
//!
//! - exactly one field that can be keyed into is hidden, the password, of 10 characters (QPWDLVL 0 and 1) or 128 (2 to 4);
//! - the field to key into before it in the format table, or for want of one on the display, is visible and has at most
//!   10 characters: the user;
//! - there are no more than [`INPUTS_MAX`] fields to key into.
//!
//! So a panel to change a password is none, nor is a command prompt with a password among its many parameters. An
//! application's panel with a short visible and then a hidden field is one: what that means is for the gate to say,
//! which knows the [`Layout`]s that this host signs on with. Displays with a second hidden field have to be
//! [taught](Taught).

use crate::display::is_attribute;
use crate::ebcdic::CodePage;
use crate::screen::{Field, Screen, is_hidden_attribute};

/// The most fields to key into on a sign-on display: user, password, three names, and what an installation adds.
pub const INPUTS_MAX: usize = 10;

/// Characters of a user profile's name, and of any other name on IBM i.
const NAME_LENGTH: u16 = 10;

/// Characters of a password at QPWDLVL 0 and 1, and at 2 to 4.
const PASSWORD_LENGTHS: [u16; 2] = [10, 128];

/// How many fields [`sketch`] names.
const SKETCH_MAX: usize = 20;

/// A sign-on display: its fields by their places in [`Screen::fields`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// The user's name.
    pub user: usize,
    /// The password.
    pub password: usize,
    /// Program, menu and current library, which act before anybody can ask: all other visible fields to key into that
    /// are as long as a name. An additional factor or an installation's own field has another length.
    pub others: Vec<usize>,
    /// The shape of the whole display.
    pub layout: Layout,
    /// An administrator has described it.
    pub taught: bool,
}

/// The shape of a display: its size, and of each field place, length, format word without MDT, and attribute.
///
/// Texts and contents are left out: a refused sign-on is the same layout with a message and the user's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Layout {
    columns: u8,
    fields: Box<[Shape]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    address: u16,
    length: u16,
    ffw: u16,
    attribute: u8,
    hidden: bool,
}

impl Layout {
    /// The layout of what is on `screen`.
    #[must_use]
    pub fn of(screen: &Screen) -> Self {
        let shape = |field: &Field| Shape {
            address: field.address,
            length: field.length,
            ffw: field.ffw & !Field::MDT,
            attribute: field.attribute,
            hidden: screen.is_hidden(field),
        };
        Self { columns: screen.columns(), fields: screen.fields().iter().map(shape).collect() }
    }
}

/// A sign-on display that an administrator has described, for displays which do not have the usual structure.
///
/// Lengths and other fields do not count then, but the user must be visible and the password hidden all the same: what
/// is keyed into a visible field comes into the image.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Taught {
    /// Row and column, from 1, of the user's first character.
    pub user: (u8, u8),
    /// Row and column, from 1, of the password's first character.
    pub password: (u8, u8),
    /// Texts that stand on the display: row and column, from 1, and text. All must be there.
    pub texts: Vec<(u8, u8, String)>,
}

/// Finds the sign-on display on `screen`: one of `taught`, or one by its structure.
#[must_use]
pub fn find(screen: &Screen, taught: &[Taught], page: CodePage) -> Option<Form> {
    if !has_hidden_input(screen) {
        return None;
    }
    let described = taught.iter().find_map(|taught| as_taught(screen, taught, page));
    let taught = described.is_some();
    let (user, password) = described.or_else(|| by_structure(screen))?;
    let is_name = |(index, field): &(usize, &Field)| {
        *index != user && *index != password && field.length == NAME_LENGTH && !screen.is_hidden(field)
    };
    let others = inputs(screen).filter(is_name).map(|(index, _)| index).collect();
    Some(Form { user, password, others, layout: Layout::of(screen), taught })
}

/// Whether there is a field that can be keyed into and shows nothing of it.
#[must_use]
pub fn has_hidden_input(screen: &Screen) -> bool {
    inputs(screen).any(|(_, field)| screen.is_hidden(field))
}

/// Whether data that cannot be parsed seems to make a field which can be keyed into and is hidden, by its first
/// attribute or by one written at an address later.
///
/// For data nobody understands, this errs on the side of yes.
#[must_use]
pub fn raw_hidden_field(data: &[u8]) -> bool {
    let attributes = || memchr::memchr_iter(0x1D, data).filter_map(|at| input_attribute(data.get(at..)?));
    let rewritten = || data.windows(4).any(|window| matches!(window, [0x11, _, _, byte] if is_hidden_attribute(*byte)));
    attributes().any(is_hidden_attribute) || (attributes().next().is_some() && rewritten())
}

/// Sizes and places of the fields to key into, without contents: what an administrator needs to teach a display.
#[must_use]
pub fn sketch(screen: &Screen) -> String {
    let one = |(_, field): (usize, &Field)| {
        let (row, column) = screen.place(field.address);
        let hidden = if screen.is_hidden(field) { "hidden input" } else { "input" };
        format!("{hidden} {row},{column} length {}", field.length)
    };
    let mut parts: Vec<String> = inputs(screen).take(SKETCH_MAX).map(one).collect();
    match inputs(screen).count().saturating_sub(SKETCH_MAX) {
        0 if parts.is_empty() => parts.push(String::from("no input")),
        0 => {}
        more => parts.push(format!("{more} more")),
    }
    format!("{}x{}: {}", screen.rows(), screen.columns(), parts.join("; "))
}

/// The fields that can be keyed into, with their places in the format table.
fn inputs(screen: &Screen) -> impl Iterator<Item = (usize, &Field)> {
    screen.fields().iter().enumerate().filter(|(_, field)| !field.is_bypass())
}

/// User and password by structure.
fn by_structure(screen: &Screen) -> Option<(usize, usize)> {
    if inputs(screen).count() > INPUTS_MAX {
        return None;
    }
    let mut hidden = inputs(screen).filter(|(_, field)| screen.is_hidden(field));
    let (Some((password, field)), None) = (hidden.next(), hidden.next()) else {
        return None;
    };
    if !PASSWORD_LENGTHS.contains(&field.length) {
        return None;
    }
    let in_table = inputs(screen).take_while(|(index, _)| *index < password).last();
    let on_display = || {
        let before = inputs(screen).filter(|(_, other)| other.address < field.address);
        before.max_by_key(|(_, other)| other.address)
    };
    let (user, field) = in_table.or_else(on_display)?;
    (field.length <= NAME_LENGTH && !screen.is_hidden(field)).then_some((user, password))
}

/// User and password where an administrator says they are, if all that was said is so.
fn as_taught(screen: &Screen, taught: &Taught, page: CodePage) -> Option<(usize, usize)> {
    let at = |(row, column): (u8, u8), hidden: bool| {
        let address = screen.address_of(row, column)?;
        let (index, _) =
            inputs(screen).find(|(_, field)| field.address == address && screen.is_hidden(field) == hidden)?;
        Some(index)
    };
    let (user, password) = (at(taught.user, false)?, at(taught.password, true)?);
    let stands = |(row, column, text): &(u8, u8, String)| {
        let cells = screen.row_text(*row, page);
        let from = usize::from(column.saturating_sub(1));
        let found: String = cells.chars().skip(from).take(text.chars().count()).collect();
        *column > 0 && found == *text
    };
    taught.texts.iter().all(stands).then_some((user, password))
}

/// The attribute of a START OF FIELD that begins with this byte, if it makes a field to key into.
fn input_attribute(data: &[u8]) -> Option<u8> {
    let [0x1D, high, _, rest @ ..] = data else {
        return None;
    };
    if high & 0xE0 != 0x40 {
        return None;
    }
    let attribute = rest.chunks(2).find(|word| !matches!(word, [0x80..=0xBF, _]))?.first().copied()?;
    is_attribute(attribute).then_some(attribute)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::display::tests::bytes;
    use crate::screen::tests::{SIGN_ON, drawn, host_records, screen};

    fn form(screen: &Screen) -> Option<(usize, usize, Vec<usize>)> {
        find(screen, &[], CodePage::CP037).map(|form| (form.user, form.password, form.others))
    }

    #[test]
    fn the_default_display() {
        let screen = screen(SIGN_ON);
        assert_eq!(form(&screen), Some((0, 1, vec![2, 3, 4])));
        assert_eq!(
            sketch(&screen),
            "24x80: input 6,53 length 10; hidden input 7,53 length 10; input 8,53 length 10; input 9,53 length 10; \
             input 10,53 length 10"
        );
        assert!(raw_hidden_field(&bytes(SIGN_ON)));
    }

    #[test]
    fn recorded_displays() {
        for (trace, forms, others) in [
            ("xtn5250/login.jsonl", 1, 3),
            ("rteplugin/login-and-disconnect.jsonl", 1, 3),
            ("rteplugin/login-with-multiple-flash-screen.jsonl", 2, 3),
            ("rteplugin/chatty-server.jsonl", 1, 3),
            ("ts5250/pub400-signon.jsonl", 1, 0),
            ("ts5250/pub400-signon-to-menu.jsonl", 2, 0),
        ] {
            let Some(records) = host_records(trace) else { return };
            let mut screen = Screen::new();
            let mut found = Vec::new();
            for record in &records {
                screen.apply_data(record).unwrap();
                if crate::display::parse(record).unwrap().iter().any(crate::display::Token::draws) {
                    found.extend(find(&screen, &[], CodePage::CP037));
                }
            }
            assert_eq!(found.len(), forms, "{trace}");
            assert!(found.iter().all(|form| form.others.len() == others), "{trace}");
            assert!(
                found.windows(2).all(|pair| pair[0].layout == pair[1].layout),
                "{trace}: a refusal is the same form"
            );
        }
    }

    #[test]
    fn structure() {
        let user = "110201 1D 4020 24 000A";
        let password = "110301 1D 4000 27 000A";
        let wide_password = "110301 1D 4000 27 0080";
        assert_eq!(form(&drawn(&format!("{user} {password}"))), Some((0, 1, vec![])));
        assert_eq!(form(&drawn(&format!("{user} {wide_password}"))), Some((0, 1, vec![])));
        assert_eq!(form(&drawn(&format!("{password} {user}"))), Some((1, 0, vec![])), "by the display, not the table");
        assert_eq!(form(&drawn(&format!("{user} 110401 1D 6000 20 0005 {password}"))), Some((0, 2, vec![])));
        assert_eq!(form(&drawn(&format!("{user} {wide_password} 110601 1D 4000 24 0006"))), Some((0, 1, vec![])));
        for (orders, why) in [
            (user.to_owned(), "no password"),
            (password.to_owned(), "no user"),
            (format!("{user} 110301 1D 4000 27 0008"), "the hidden field has another length"),
            (format!("{user} 110301 1D 6000 27 000A"), "the hidden field cannot be keyed into"),
            (format!("110201 1D 4000 24 0014 {password}"), "last name and a hidden field"),
            (format!("{user} 110401 1D 4000 24 0020 {password}"), "the field before is long"),
            (format!("{user} {password} 110401 1D 4000 27 000A"), "two hidden fields"),
            (format!("{password} 110401 1D 4000 27 000A 110501 1D 4000 27 000A"), "change of a password"),
        ] {
            assert_eq!(form(&drawn(&orders)), None, "{why}");
        }
        let prompt: String = (6..=14).map(|row| format!("11{row:02X}01 1D 4000 24 000A ")).collect();
        assert!(form(&drawn(&format!("{user} {password}"))).is_some());
        assert_eq!(form(&drawn(&format!("{prompt} {user} {password}"))), None, "a command prompt with a password");
    }

    #[test]
    fn layout_is_the_shape_alone() {
        let of = |orders: &str| Layout::of(&drawn(orders));
        let plain = of("110201 1D 4020 24 000A 110301 1D 4000 27 000A");
        assert_eq!(of("110101 C1 110201 1D 4820 24 000A C1C2 110301 1D 4000 27 000A"), plain);
        for other in [
            "110202 1D 4020 24 000A 110301 1D 4000 27 000A",
            "110201 1D 4020 24 0009 110301 1D 4000 27 000A",
            "110201 1D 4000 24 000A 110301 1D 4000 27 000A",
            "110201 1D 4020 20 000A 110301 1D 4000 27 000A",
            "110201 1D 4020 24 000A 110301 1D 4000 27 000A 110301 20",
            "110301 1D 4000 27 000A 110201 1D 4020 24 000A",
        ] {
            assert_ne!(of(other), plain, "{other}");
        }
    }

    #[test]
    fn taught_displays() {
        let orders = "110101 22 E4E2C5D9 110201 1D 4000 24 0014 110301 1D 4000 27 0028 110401 1D 4000 27 0006";
        let screen = drawn(orders);
        assert_eq!(form(&screen), None);
        let taught = |user, password, texts: &[(u8, u8, &str)]| {
            let texts = texts.iter().map(|(row, column, text)| (*row, *column, String::from(*text))).collect();
            let taught = [Taught { user, password, texts }];
            find(&screen, &taught, CodePage::CP037).map(|form| (form.user, form.password))
        };
        assert_eq!(taught((2, 2), (3, 2), &[]), Some((0, 1)));
        assert_eq!(taught((2, 2), (4, 2), &[(1, 2, "USER")]), Some((0, 2)));
        assert_eq!(taught((2, 2), (3, 2), &[(1, 2, "USER"), (1, 2, "USEr")]), None);
        assert_eq!(taught((2, 2), (3, 2), &[(1, 0, " USER")]), None);
        assert_eq!(taught((2, 2), (2, 2), &[]), None, "a visible password");
        assert_eq!(taught((3, 2), (4, 2), &[]), None, "a hidden user");
        assert_eq!(taught((2, 3), (3, 2), &[]), None, "not where a field starts");
        assert_eq!(taught((0, 0), (255, 255), &[]), None);
    }

    #[test]
    fn raw_data() {
        for (hex, hidden) in [
            ("0499 1D 4000 27 000A", true),
            ("0499 1D 4000 8200 8400 2F 000A", true),
            ("0499 1D 4000 24 000A 110734 27", true),
            ("0499 1D 4000 24 000A", false),
            ("0499 110734 27 1D 6000 27 000A", false),
            ("0499 1D 27 000A", false),
            ("1D", false),
            ("1D4000", false),
            ("1D400080", false),
        ] {
            assert_eq!(raw_hidden_field(&bytes(hex)), hidden, "{hex}");
        }
    }

    #[test]
    fn sketches() {
        assert_eq!(sketch(&drawn("110201 1D 6000 24 000A C1C2")), "24x80: no input");
        let many: String = (2..24).map(|row| format!("11{row:02X}01 1D 4000 24 000A ")).collect();
        assert!(sketch(&drawn(&many)).ends_with("; input 21,2 length 10; 2 more"));
    }

    proptest! {
        #[test]
        fn any_screen(tokens in crate::display::tests::any_tokens(), data: Vec<u8>) {
            let mut screen = Screen::new();
            for token in &tokens {
                let _ = screen.apply(&token.token());
            }
            if let Some(form) = find(&screen, &[], CodePage::CP037) {
                prop_assert!(!screen.is_hidden(&screen.fields()[form.user]));
                prop_assert!(screen.is_hidden(&screen.fields()[form.password]));
                prop_assert!(has_hidden_input(&screen));
            }
            let _ = (sketch(&screen), raw_hidden_field(&data));
        }
    }
}
