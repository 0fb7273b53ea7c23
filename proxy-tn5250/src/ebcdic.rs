//! EBCDIC: the single-byte code pages of 5250 sessions, and the reading of a user name.
//!
//! Sources: IBM's conversion tables (see `tables/generate`); RFC 4777 §4 for what a session declares; the relation of
//! keyboard type to code page is that of IBM's table of national language keyboard types.
//!
//! Invariants: every byte decodes to a character, U+FFFD if the page has none there; [`INVARIANT`] has the same bytes on
//! every page; a user name that two readings take for two different users is nobody.

use core::fmt;

use policy::User;

#[rustfmt::skip]
mod tables;

/// What `encode_all` writes for a character that the page does not have: a question mark, the same on every page.
const UNKNOWN: u8 = 0x6F;

/// The characters that have one and the same byte on every code page here: what our own screens are written in.
/// Lower-case Latin letters come on top on all pages that have them, see [`CodePage::has_lower_latin`].
pub const INVARIANT: &str = " ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_%&'()*+,-./:;<=>?";

/// One code page.
#[derive(Clone, Copy)]
pub struct CodePage(&'static Page);

/// The table of a page.
struct Page {
    ccsid: u16,
    characters: [u16; 256],
}

/// CCSIDs with both single and double bytes, and old names, with the page of their single bytes.
const MIXED: [(u16, u16); 17] = [
    (930, 290),
    (931, 1027),
    (933, 833),
    (935, 836),
    (937, 28709),
    (939, 1027),
    (1364, 833),
    (1371, 28709),
    (1388, 836),
    (1390, 8482),
    (1399, 5123),
    (5026, 290),
    (5035, 1027),
    (9030, 838),
    (9580, 836),
    (13121, 833),
    (13124, 836),
];

/// Code pages and the keyboard types that stand for them when a session declares no code page.
const KEYBOARDS: [(u16, &str); 26] = [
    (37, "BRB NEB PRB USB"),
    (273, "AGB"),
    (277, "DMB NWB"),
    (278, "FNB SWB"),
    (280, "ITB"),
    (281, "JEB"),
    (284, "SPB SSB"),
    (285, "UKB"),
    (290, "JKB KAB"),
    (297, "FAB FQB"),
    (420, "CLB"),
    (424, "NCB"),
    (500, "AGI ALI BLI CAI DMI FAI FNI FQI ICI INB ITI JEI NEI NWI PRI SFI SGI SPI SSI SWI UKI USI"),
    (833, "KOB"),
    (836, "RCB"),
    (838, "THB"),
    (870, "CSB HNB PLB RMB ROB SKB YGI"),
    (871, "ICB"),
    (875, "GNB"),
    (880, "CYB"),
    (1025, "BGB MKB RUB SQB"),
    (1026, "TKB TRB"),
    (1027, "JPB"),
    (1097, "IRB"),
    (5123, "JPE"),
    (28709, "TAB"),
];

impl CodePage {
    /// CCSID 37: United States and Canada, the page in which IBM i spells its names.
    pub const CP037: Self = Self(&tables::P37);

    /// The page of a CCSID; of a mixed one that of its single bytes.
    #[must_use]
    pub fn from_ccsid(ccsid: u16) -> Option<Self> {
        let single = MIXED.iter().find(|(mixed, _)| *mixed == ccsid).map_or(ccsid, |(_, single)| *single);
        let at = tables::PAGES.binary_search_by_key(&single, |page| page.ccsid).ok()?;
        tables::PAGES.get(at).map(|page| Self(page))
    }

    /// The page that a client declares by NEW-ENVIRON (RFC 4777 §4). Without a keyboard type the other two do not
    /// count; without a code page the keyboard type stands for one. The character set matters for one page alone: 37
    /// with set 1175 is the single-byte page of traditional Chinese. Nothing when the session declares no page, or one
    /// that is not known here.
    #[must_use]
    pub fn from_session(code_page: &str, character_set: &str, keyboard: &str) -> Option<Self> {
        let keyboard = keyboard.trim();
        let ccsid = match (code_page.trim(), character_set.trim()) {
            _ if keyboard.is_empty() => return None,
            ("", _) => {
                let stands = |names: &str| names.split(' ').any(|name| name.eq_ignore_ascii_case(keyboard));
                KEYBOARDS.iter().find(|(_, names)| stands(names))?.0
            }
            ("37" | "037" | "00037", "1175") => 28709,
            (code_page, _) => code_page.parse().ok()?,
        };
        Self::from_ccsid(ccsid)
    }

    /// All pages.
    pub fn all() -> impl Iterator<Item = Self> {
        tables::PAGES.iter().map(|page| Self(page))
    }

    /// Its CCSID.
    #[must_use]
    pub const fn ccsid(self) -> u16 {
        self.0.ccsid
    }

    /// The character of a byte.
    #[must_use]
    pub fn decode(self, byte: u8) -> char {
        let unit = self.0.characters.get(usize::from(byte)).copied().unwrap_or(0xFFFD);
        char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    /// The byte of a character, if the page has it.
    #[must_use]
    pub fn encode(self, character: char) -> Option<u8> {
        let unit = u16::try_from(u32::from(character)).ok().filter(|unit| *unit != 0xFFFD)?;
        let at = self.0.characters.iter().position(|known| *known == unit)?;
        u8::try_from(at).ok()
    }

    /// The text of `bytes`, one character for each.
    #[must_use]
    pub fn decode_all(self, bytes: &[u8]) -> String {
        bytes.iter().map(|byte| self.decode(*byte)).collect()
    }

    /// The bytes of `text`, one for each character; a question mark for what the page does not have.
    #[must_use]
    pub fn encode_all(self, text: &str) -> Vec<u8> {
        text.chars().map(|character| self.encode(character).unwrap_or(UNKNOWN)).collect()
    }

    /// Whether lower-case Latin letters stand where nearly every page has them. Where not (katakana pages, Hebrew's
    /// old one), text for the screen must be upper case.
    #[must_use]
    pub fn has_lower_latin(self) -> bool {
        ('a'..='z').all(|letter| self.encode(letter).is_some_and(|byte| Self::CP037.decode(byte) == letter))
    }
}

impl PartialEq for CodePage {
    fn eq(&self, other: &Self) -> bool {
        self.0.ccsid == other.0.ccsid
    }
}

impl Eq for CodePage {}

impl Default for CodePage {
    fn default() -> Self {
        Self::CP037
    }
}

impl fmt::Debug for CodePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodePage({})", self.0.ccsid)
    }
}

/// Who a user field names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserReading {
    /// This user.
    One(User),
    /// One user by the spelling of IBM i, another by the code page of the session: nobody may be let in on that.
    Ambiguous,
    /// Nothing but blanks and nulls.
    Blank,
    /// Not the name of any user profile.
    NotAName,
}

/// Reads the content of a user field.
///
/// IBM i keeps names as bytes of CCSID 37, so `@`, `#` and `$` are 7C, 7B and 5B whatever the keyboard shows for them; but
/// it may also convert from the code page that the device declared. Both readings are made: all other characters of a
/// name have the same byte everywhere.
#[must_use]
pub fn user_name(field: &[u8], page: CodePage) -> UserReading {
    let is_padding = |byte: &&u8| matches!(**byte, 0x00 | 0x40);
    let leading = field.iter().take_while(is_padding).count();
    let trailing = field.iter().rev().take_while(is_padding).count();
    let Some(name) = field.get(leading..field.len().saturating_sub(trailing)).filter(|name| !name.is_empty()) else {
        return UserReading::Blank;
    };
    let read = |page: CodePage| page.decode_all(name).parse::<User>().ok();
    match (read(CodePage::CP037), read(page)) {
        (Some(ours), Some(theirs)) if ours != theirs => UserReading::Ambiguous,
        (Some(user), _) | (None, Some(user)) => UserReading::One(user),
        (None, None) => UserReading::NotAName,
    }
}
