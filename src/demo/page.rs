//! The pages of the simulated host: what each shows, where its fields are, and where each key leads.
//!
//! The sign-on display has the shape of the one every IBM i comes with (fields, lengths, format words, order of writes);
//! its texts are our own.

use super::host::{HostSettings, Layout};
use super::sheet::{Sheet, Start, attribute, format};

/// The most characters of a message line.
const MESSAGE_MAX: usize = 78;

/// A page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The sign-on display.
    SignOn,
    /// The menu.
    Menu,
    /// A display of 27x132.
    Wide,
    /// A panel over the menu, which is not cleared.
    Panel,
    /// An application's own log-in: a visible field and a hidden one.
    LogIn,
    /// What comes after the application's log-in.
    Application,
    /// The System Request menu.
    SystemRequest,
    /// The Attention panel.
    Attention,
}

/// What a page shows besides its own texts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) settings: &'a HostSettings,
    pub(super) device: &'a str,
    /// The user that is signed on, or was named at the sign-on display.
    pub(super) user: &'a str,
    pub(super) message: Option<&'a str>,
    /// Whether this is the second job of the display.
    pub(super) second: bool,
}

/// Lengths of the fields at their places, for reading what comes back.
pub(super) const USER_LENGTH: usize = 10;

impl Place {
    /// Row and column of the first cell of the first and of the second field.
    pub(super) const fn fields(self, settings: &HostSettings) -> [(u8, u8); 2] {
        match (self, settings.layout) {
            (Self::SignOn, Layout::Standard) => [(6, 53), (7, 53)],
            (Self::SignOn, Layout::Custom) => [(5, 25), (6, 25)],
            (Self::LogIn, _) => [(10, 30), (12, 30)],
            (Self::Wide, _) => [(25, 8), (0, 0)],
            (Self::Panel, _) => [(13, 38), (0, 0)],
            (Self::SystemRequest, _) => [(16, 8), (0, 0)],
            (Self::Menu | Self::Application | Self::Attention, _) => [(20, 7), (0, 0)],
        }
    }

    /// The data of the record that shows the page.
    pub(super) fn draw(self, facts: &Facts<'_>) -> Vec<u8> {
        let start = if facts.settings.clears { Start::Clear } else { Start::Overwrite };
        match self {
            Self::SignOn => match facts.settings.layout {
                Layout::Standard => standard_sign_on(start, facts),
                Layout::Custom => custom_sign_on(start, facts),
            },
            Self::Menu => menu(start, facts),
            Self::Wide => wide(facts),
            Self::Panel => panel(),
            Self::LogIn => log_in(start, facts),
            Self::Application => application(start, facts),
            Self::SystemRequest => system_request(start, facts),
            Self::Attention => attention(start, facts),
        }
    }
}

fn message(sheet: &mut Sheet, facts: &Facts<'_>) {
    if let Some(text) = facts.message {
        let text: String = text.chars().take(MESSAGE_MAX).collect();
        // The attribute stands in the last cell of row 23, so that the text begins in column 1 of row 24.
        sheet.line(23, 80, attribute::WHITE, &format!("{text:MESSAGE_MAX$}"));
    }
}

fn password(sheet: &mut Sheet, row: u8, column: u8, settings: &HostSettings) {
    let word = if settings.password_length > 10 { format::MIXED } else { format::UPPER };
    sheet.field(row, column, word, attribute::HIDDEN, settings.password_length);
}

fn standard_sign_on(start: Start, facts: &Facts<'_>) -> Vec<u8> {
    let settings = facts.settings;
    let mut sheet = Sheet::new(start);
    sheet.text(1, 22, attribute::WHITE, "         Simulated Sign On          ");
    for (row, label, value) in [
        (2, "System  . . . . . :", settings.system.as_str()),
        (3, "Subsystem . . . . :", "SIMULATE"),
        (4, "Display . . . . . :", facts.device),
    ] {
        sheet.text(row, 47, attribute::GREEN, label);
        sheet.text(row, 69, attribute::GREEN, &format!("{value:10}"));
    }
    sheet.text(6, 16, attribute::GREEN, "User  . . . . . . . . . . . . . .");
    sheet.field(6, 52, format::UPPER, attribute::UNDERLINED, 10).content(facts.user, USER_LENGTH);
    sheet.raw(&[attribute::GREEN]);
    // The password's field is started before its label is written, as the real display does.
    password(&mut sheet, 7, 52, settings);
    // A field of 128 characters goes on through row 8 into row 9.
    let below = if settings.password_length > 10 { 10 } else { 8 };
    for (row, label) in [
        (below, "Program/procedure . . . . . . . ."),
        (below + 1, "Menu  . . . . . . . . . . . . . ."),
        (below + 2, "Current library . . . . . . . . ."),
    ] {
        sheet.text(row, 16, attribute::GREEN, label);
        sheet.field(row, 52, format::MIXED, attribute::UNDERLINED, 10).content("", 10);
        sheet.raw(&[attribute::GREEN]);
    }
    sheet.text(7, 16, attribute::GREEN, "Password  . . . . . . . . . . . .");
    // The attribute once more, and nulls by REPEAT TO ADDRESS.
    if settings.password_length <= 10 {
        sheet.at(7, 52).raw(&[attribute::HIDDEN, 0x02, 7, 62, 0x00]);
    }
    sheet.text(14, 16, attribute::TURQUOISE, "This is a simulator that comes with Sallyport.");
    sheet.text(15, 16, attribute::TURQUOISE, "It is not an IBM i; nothing here is worth protecting.");
    if facts.second {
        sheet.text(17, 16, attribute::WHITE, "Second job of this display.");
    }
    message(&mut sheet, facts);
    sheet.read()
}

fn custom_sign_on(start: Start, facts: &Facts<'_>) -> Vec<u8> {
    let settings = facts.settings;
    let mut sheet = Sheet::new(start);
    sheet.text(
        1,
        2,
        attribute::WHITE,
        &format!("Welcome to {}, a simulator with a sign-on display of its own", settings.system),
    );
    sheet.text(3, 2, attribute::TURQUOISE, "This is a simulator that comes with Sallyport.");
    sheet.text(5, 2, attribute::GREEN, "Your user name:");
    sheet.field(5, 24, format::UPPER, attribute::UNDERLINED, 10).content(facts.user, USER_LENGTH);
    sheet.raw(&[attribute::GREEN]);
    sheet.text(6, 2, attribute::GREEN, "Password:");
    password(&mut sheet, 6, 24, settings);
    sheet.text(10, 2, attribute::GREEN, &format!("Display {}", facts.device));
    if facts.second {
        sheet.text(11, 2, attribute::WHITE, "Second job of this display.");
    }
    message(&mut sheet, facts);
    sheet.read()
}

fn menu(start: Start, facts: &Facts<'_>) -> Vec<u8> {
    let mut sheet = Sheet::new(start);
    sheet.text(1, 1, attribute::WHITE, "MAIN");
    sheet.text(1, 30, attribute::WHITE, "Simulated Main Menu");
    sheet.text(2, 61, attribute::GREEN, &format!("System:   {}", facts.settings.system));
    let job = if facts.second { "second job" } else { "first job" };
    sheet.text(3, 1, attribute::GREEN, &format!("Signed on as {} at display {}, {job}.", facts.user, facts.device));
    sheet.text(4, 1, attribute::TURQUOISE, "This is a simulator that comes with Sallyport.");
    sheet.text(6, 1, attribute::BLUE, "Select one of the following:");
    for (row, line) in [
        (8, " 1. A display of 27x132 (terminals that can show it)"),
        (9, " 2. A panel over this menu, which is not cleared"),
        (10, " 3. An application with a log-in of its own"),
        (11, " 4. Message light on"),
        (13, "90. Sign off"),
        (15, "System Request shows a menu with the second job, Attention a panel."),
    ] {
        sheet.text(row, 6, attribute::GREEN, line);
    }
    sheet.text(19, 1, attribute::GREEN, "Selection");
    sheet.text(20, 1, attribute::GREEN, "===>");
    sheet.field(20, 6, format::COMMAND, attribute::UNDERLINED, 153).content("", 153);
    sheet.raw(&[attribute::GREEN]);
    sheet.text(22, 1, attribute::BLUE, "F3=Sign off   F12=Cancel");
    message(&mut sheet, facts);
    sheet.read()
}

fn wide(facts: &Facts<'_>) -> Vec<u8> {
    let mut sheet = Sheet::new(Start::ClearWide);
    sheet.text(1, 1, attribute::WHITE, "WIDE");
    sheet.text(1, 50, attribute::WHITE, "A display of 27 rows and 132 columns");
    sheet.text(2, 110, attribute::GREEN, &format!("System:   {}", facts.settings.system));
    let ruler: String = (1..=13).map(|ten| format!("....+...{ten:02}")).collect();
    sheet.text(4, 1, attribute::BLUE, &ruler);
    for row in 5..=22 {
        sheet.text(row, 1, attribute::GREEN, &format!("Row {row:02}"));
        sheet.text(row, 120, attribute::GREEN, &format!("Row {row:02}"));
    }
    sheet.text(25, 1, attribute::GREEN, "===>");
    sheet.field(25, 7, format::MIXED, attribute::UNDERLINED, 40).content("", 40);
    sheet.raw(&[attribute::GREEN]);
    sheet.text(27, 1, attribute::BLUE, "Enter=Menu   F3=Menu   F12=Menu");
    sheet.read()
}

fn panel() -> Vec<u8> {
    let mut sheet = Sheet::new(Start::Keep);
    // A new format table, but no cell is cleared: the menu stays around the panel.
    sheet.raw(&[0x01, 0x07, 0, 0, 0, 24, 0, 0, 0]);
    let edge = " ".repeat(46);
    sheet.text(9, 16, attribute::REVERSED, &edge);
    for row in 10..=15 {
        sheet.text(row, 16, attribute::REVERSED, " ");
        sheet.at(row, 18).raw(&[attribute::GREEN]).content("", 43);
        sheet.text(row, 61, attribute::REVERSED, " ");
    }
    sheet.text(16, 16, attribute::REVERSED, &edge);
    sheet.text(10, 20, attribute::WHITE, "A panel over the menu");
    sheet.text(13, 20, attribute::GREEN, "Remark . . . . .");
    sheet.field(13, 37, format::MIXED, attribute::UNDERLINED, 20).content("", 20);
    sheet.raw(&[attribute::GREEN]);
    sheet.text(15, 20, attribute::BLUE, "Enter=Continue   F12=Cancel");
    sheet.read()
}

fn log_in(start: Start, facts: &Facts<'_>) -> Vec<u8> {
    let mut sheet = Sheet::new(start);
    sheet.text(1, 28, attribute::WHITE, "Simulated application");
    sheet.text(8, 5, attribute::GREEN, "The application has a log-in of its own; any words do.");
    sheet.text(10, 5, attribute::GREEN, "Name  . . . . . . . .");
    sheet.field(10, 29, format::UPPER, attribute::UNDERLINED, 10).content("", 10);
    sheet.raw(&[attribute::GREEN]);
    sheet.text(12, 5, attribute::GREEN, "Secret word . . . . .");
    sheet.field(12, 29, format::MIXED, attribute::HIDDEN, 20).content("", 20);
    sheet.raw(&[attribute::GREEN]);
    sheet.text(22, 1, attribute::BLUE, "Enter=Log in   F3=Menu   F12=Menu");
    message(&mut sheet, facts);
    sheet.read()
}

fn application(start: Start, facts: &Facts<'_>) -> Vec<u8> {
    let mut sheet = Sheet::new(start);
    sheet.text(1, 28, attribute::WHITE, "Simulated application");
    sheet.text(3, 1, attribute::GREEN, "Logged in. There is nothing to do here.");
    sheet.text(20, 1, attribute::GREEN, "===>");
    sheet.field(20, 6, format::MIXED, attribute::UNDERLINED, 60).content("", 60);
    sheet.raw(&[attribute::GREEN]);
    sheet.text(22, 1, attribute::BLUE, "Enter=Menu   F3=Menu");
    message(&mut sheet, facts);
    sheet.read()
}

fn system_request(start: Start, facts: &Facts<'_>) -> Vec<u8> {
    let mut sheet = Sheet::new(start);
    sheet.text(1, 28, attribute::WHITE, "Simulated System Request");
    sheet.text(2, 61, attribute::GREEN, &format!("System:   {}", facts.settings.system));
    sheet.text(4, 1, attribute::BLUE, "Select one of the following:");
    sheet.text(6, 6, attribute::GREEN, " 1. Display sign on for the second job, or go to it");
    sheet.text(8, 6, attribute::GREEN, "90. Sign off");
    sheet.text(15, 1, attribute::GREEN, "Selection");
    sheet.text(16, 2, attribute::GREEN, "===>");
    sheet.field(16, 7, format::MIXED, attribute::UNDERLINED, 10).content("", 10);
    sheet.raw(&[attribute::GREEN]);
    sheet.text(22, 1, attribute::BLUE, "Enter=Select   F3=Back   F12=Back");
    message(&mut sheet, facts);
    sheet.read()
}

fn attention(start: Start, facts: &Facts<'_>) -> Vec<u8> {
    let mut sheet = Sheet::new(start);
    sheet.text(1, 28, attribute::WHITE, "Simulated Attention panel");
    sheet.text(4, 1, attribute::GREEN, "Attention was pressed. The display underneath was saved.");
    sheet.text(20, 1, attribute::GREEN, "===>");
    sheet.field(20, 6, format::MIXED, attribute::UNDERLINED, 60).content("", 60);
    sheet.raw(&[attribute::GREEN]);
    sheet.text(22, 1, attribute::BLUE, "Enter=Back   F3=Back");
    message(&mut sheet, facts);
    sheet.read()
}
