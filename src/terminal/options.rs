//! What a terminal says about itself while the session is negotiated (RFC 4777, sections 2 to 4 and 10).

use proxy_tn5250::ebcdic::CodePage;
use proxy_tn5250::environ::{Kind, Variable};

/// The terminal type of a 24x80 colour display.
pub const NARROW: &str = "IBM-3179-2";
/// The terminal type of a colour display that shows 27x132 as well.
pub const WIDE: &str = "IBM-3477-FC";

/// What a terminal says about itself.
#[derive(Debug, Clone)]
pub struct Options {
    /// The TERMINAL-TYPE.
    pub terminal_type: String,
    /// DEVNAME: the name of the display device that is asked for; the host picks one where there is none.
    pub device: Option<String>,
    /// The keyboard, and with it the code page.
    pub keyboard: Keyboard,
    /// Whether the host is asked for a start-up record (IBMSENDCONFREC).
    pub startup_record: bool,
    /// Further NEW-ENVIRON variables, in this order, before all others.
    pub variables: Vec<Variable>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            terminal_type: NARROW.to_owned(),
            device: None,
            keyboard: Keyboard::default(),
            startup_record: true,
            variables: Vec::new(),
        }
    }
}

/// KBDTYPE, CODEPAGE and CHARSET: the host ignores the last two without the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyboard {
    /// The code page's number.
    pub ccsid: u16,
    kbdtype: &'static str,
    codepage: &'static str,
    charset: &'static str,
}

/// One keyboard for each code page a user may ask for (RFC 4777, section 4, and the host's keyboard table).
const KEYBOARDS: &[(u16, &str, &str, &str)] = &[
    (37, "USB", "37", "697"),
    (273, "AGB", "273", "697"),
    (277, "DMB", "277", "697"),
    (278, "FNB", "278", "697"),
    (280, "ITB", "280", "697"),
    (284, "SPB", "284", "697"),
    (285, "UKB", "285", "697"),
    (290, "KAB", "290", "332"),
    (297, "FAB", "297", "697"),
    (424, "NCB", "424", "941"),
    (500, "INB", "500", "697"),
    (838, "THB", "838", "1176"),
    (870, "PLB", "870", "959"),
    (871, "ICB", "871", "697"),
    (875, "GNB", "875", "925"),
    (1025, "RUB", "1025", "1150"),
    (1026, "TRB", "1026", "1152"),
    (1141, "AGB", "1141", "695"),
];

impl Keyboard {
    /// The keyboard for a code page, where there is one.
    #[must_use]
    pub fn from_ccsid(ccsid: u16) -> Option<Self> {
        KEYBOARDS.iter().find(|(number, ..)| *number == ccsid).map(|&(ccsid, kbdtype, codepage, charset)| Self {
            ccsid,
            kbdtype,
            codepage,
            charset,
        })
    }

    /// The code pages that [`Keyboard::from_ccsid`] knows.
    pub fn ccsids() -> impl Iterator<Item = u16> {
        KEYBOARDS.iter().map(|(number, ..)| *number)
    }

    /// The code page by which texts are read and keyed.
    #[must_use]
    pub fn page(&self) -> CodePage {
        CodePage::from_ccsid(self.ccsid).unwrap_or(CodePage::CP037)
    }
}

impl Default for Keyboard {
    fn default() -> Self {
        Self { ccsid: 37, kbdtype: "USB", codepage: "37", charset: "697" }
    }
}

impl Options {
    /// A terminal that can show 27x132.
    #[must_use]
    pub fn wide() -> Self {
        Self { terminal_type: WIDE.to_owned(), ..Self::default() }
    }

    /// Adds a variable: the names that RFC 1572 registers go as VAR, all others as USERVAR.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &[u8]) -> Self {
        const REGISTERED: [&str; 6] = ["USER", "JOB", "ACCT", "PRINTER", "SYSTEMTYPE", "DISPLAY"];
        let kind = if REGISTERED.contains(&name) { Kind::Var } else { Kind::UserVar };
        self.variables.push(Variable::new(kind, name, value));
        self
    }

    /// All variables, as the answer to the host's wish for all of them.
    pub(super) fn environ(&self, device: Option<&str>) -> Vec<Variable> {
        let mut list = self.variables.clone();
        let own = |name: &str, value: &str| Variable::new(Kind::UserVar, name, value.as_bytes());
        list.extend(device.map(|name| own("DEVNAME", name)));
        list.push(own("KBDTYPE", self.keyboard.kbdtype));
        list.push(own("CODEPAGE", self.keyboard.codepage));
        list.push(own("CHARSET", self.keyboard.charset));
        if self.startup_record {
            list.push(own("IBMSENDCONFREC", "YES"));
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyboard_has_its_code_page() {
        for ccsid in Keyboard::ccsids() {
            let page = Keyboard::from_ccsid(ccsid).unwrap().page();
            assert_eq!(page.ccsid(), ccsid);
        }
    }
}
