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
    ascii: [u8; 128],
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
        if let Some(byte) = self.0.ascii.get(usize::from(unit)) {
            return (*byte != 0 || unit == 0).then_some(*byte);
        }
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

    /// Whether lower-case Latin letters stand where nearly every page has them. On the others, those of katakana, text
    /// for the screen must be upper case.
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
/// name have the same byte everywhere. On no page here do the two readings name two users (a test holds the tables to
/// that); if one ever does, the user is nobody.
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn page(ccsid: u16) -> CodePage {
        CodePage::from_ccsid(ccsid).unwrap()
    }

    #[test]
    fn invariant_characters_have_one_byte_on_all_pages() {
        for page in CodePage::all() {
            for character in INVARIANT.chars().chain(['\0']) {
                assert_eq!(page.encode(character), CodePage::CP037.encode(character), "{page:?} {character}");
            }
            assert_eq!(page.encode('?'), Some(UNKNOWN), "{page:?}");
            assert_eq!((page.encode(' '), page.encode('A'), page.encode('9')), (Some(0x40), Some(0xC1), Some(0xF9)));
        }
    }

    #[test]
    fn pages_are_in_order_and_none_is_missing() {
        let all: Vec<u16> = CodePage::all().map(CodePage::ccsid).collect();
        assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
        for ccsid in [
            37, 273, 277, 278, 280, 284, 285, 290, 297, 420, 424, 500, 833, 836, 838, 870, 871, 875, 880, 930, 933,
            935, 937, 939, 1025, 1026, 1027, 1097, 1112, 1122, 1123, 1130, 1140, 1141, 1142, 1143, 1144, 1145, 1146,
            1147, 1148, 1149, 1153, 1154, 1155, 1156, 1157, 1158, 1160, 1388, 1399, 5026, 5035,
        ] {
            assert!(CodePage::from_ccsid(ccsid).is_some(), "{ccsid}");
        }
        for (ccsid, single) in MIXED {
            assert_eq!(page(ccsid).ccsid(), single);
        }
        for ccsid in [0, 260, 437, 1200, 65535] {
            assert_eq!(CodePage::from_ccsid(ccsid), None, "{ccsid}");
        }
    }

    #[test]
    fn bytes_and_characters_belong_together() {
        let mut doubled = 0;
        for page in CodePage::all() {
            for byte in 0..=0xFF {
                let character = page.decode(byte);
                let encoded = page.encode(character);
                if character == char::REPLACEMENT_CHARACTER {
                    assert_eq!(encoded, None, "{page:?} {byte:02x}");
                } else {
                    assert_eq!(encoded.map(|byte| page.decode(byte)), Some(character), "{page:?} {byte:02x}");
                    doubled += usize::from(encoded != Some(byte));
                }
            }
        }
        // Thai has some tone marks twice, for tall letters and for others.
        assert_eq!(doubled, 9);
    }

    #[test]
    fn the_letters_of_names_that_vary() {
        for (ccsids, bytes) in [
            (
                &[37, 500, 870, 1025, 875, 1140, 1148, 939, 1399, 933, 937, 1112, 1123, 420, 424, 838][..],
                [0x7C, 0x7B, 0x5B],
            ),
            (&[273, 1141], [0xB5, 0x7B, 0x5B]),
            (&[277, 1142], [0x80, 0x4A, 0x67]),
            (&[278, 1143, 1122], [0xEC, 0x63, 0x67]),
            (&[280, 1144], [0xB5, 0xB1, 0x5B]),
            (&[284, 1145], [0x7C, 0x69, 0x5B]),
            (&[285, 1146], [0x7C, 0x7B, 0x4A]),
            (&[297, 1147], [0x44, 0xB1, 0x5B]),
            (&[871, 1149], [0xAC, 0x7B, 0x5B]),
            (&[1026, 1155], [0xAE, 0xEC, 0xAD]),
            (&[290, 930, 1388], [0x7C, 0x7B, 0xE0]),
        ] {
            for ccsid in ccsids {
                assert_eq!(page(*ccsid).encode_all("@#$"), bytes, "{ccsid}");
            }
        }
    }

    #[test]
    fn known_texts() {
        let sign_on = b"\x40\xE2\x89\x87\x95\x40\xD6\x95";
        assert_eq!(CodePage::CP037.decode_all(sign_on), " Sign On");
        assert_eq!(page(273).encode_all("Prüfung"), b"\xD7\x99\xD0\x86\xA4\x95\x87");
        assert_eq!(page(1025).encode_all("Ж"), [0xEC]);
        assert_eq!(page(1140).encode('€'), Some(0x9F));
        assert_eq!(page(290).decode(0x81), 'ｱ');
        assert_eq!(CodePage::CP037.encode_all("a→b\u{10FFFF}\u{FFFD}"), [0x81, UNKNOWN, 0x82, UNKNOWN, UNKNOWN]);
        let without: Vec<u16> = CodePage::all().filter(|page| !page.has_lower_latin()).map(CodePage::ccsid).collect();
        assert_eq!(without, [290, 8482]);
    }

    #[test]
    fn what_a_session_declares() {
        let declared = |page, set, keyboard| CodePage::from_session(page, set, keyboard).map(CodePage::ccsid);
        for (session, ccsid) in [
            (("37", "697", "USB"), Some(37)),
            (("037", "697", "USB"), Some(37)),
            (("37", "697", "BRB"), Some(37)),
            (("273", "697", "AGB"), Some(273)),
            (("1141", "695", "AGB"), Some(1141)),
            (("290", "1172", "JKB"), Some(290)),
            (("1027", "1172", "JPB"), Some(1027)),
            (("37", "1175", "TAB"), Some(28709)),
            (("", "", "agb"), Some(273)),
            (("", "", "TRB"), Some(1026)),
            (("273", "697", ""), None),
            (("", "", "XXX"), None),
            (("260", "341", "CAB"), None),
            (("99999", "697", "USB"), None),
            (("-1", "697", "USB"), None),
        ] {
            assert_eq!(declared(session.0, session.1, session.2), ccsid, "{session:?}");
        }
        for (ccsid, names) in KEYBOARDS {
            assert!(CodePage::from_ccsid(ccsid).is_some(), "{names}");
        }
    }

    #[test]
    fn user_names() {
        let one = |name: &str| UserReading::One(name.parse().unwrap());
        let cp037 = |text| CodePage::CP037.encode_all(text);
        for (field, ccsid, reading) in [
            (cp037("ANNA      "), 37, one("ANNA")),
            (cp037("anna\0\0\0"), 37, one("ANNA")),
            (cp037("ANNA"), 273, one("ANNA")),
            (cp037("  Anna_1 "), 290, one("ANNA_1")),
            (cp037("anna"), 290, one("ANNA")),
            (vec![], 37, UserReading::Blank),
            (cp037("\0 \0  "), 37, UserReading::Blank),
            (cp037("ABCDEFGHIJK"), 37, UserReading::NotAName),
            (cp037("AN NA"), 37, UserReading::NotAName),
            (cp037("1ANNA"), 37, UserReading::NotAName),
            (vec![0xC1, 0xFF], 37, UserReading::NotAName),
            // What a German keyboard shows as a section sign is the at sign of IBM i.
            (cp037("Q@X"), 37, one("Q@X")),
            (cp037("Q@X"), 273, one("Q@X")),
            (page(273).encode_all("Q@X"), 273, one("Q@X")),
            (page(273).encode_all("Q@X"), 37, UserReading::NotAName),
            // 4A is the cent sign of 37 and the dollar of 285; 5B is the dollar of 37 and the pound of 285.
            (page(285).encode_all("Q$X"), 285, one("Q$X")),
            (cp037("Q$X"), 285, one("Q$X")),
        ] {
            assert_eq!(user_name(&field, page(ccsid)), reading, "{field:02x?} {ccsid}");
        }
    }

    #[test]
    fn no_page_makes_one_name_of_another() {
        for page in CodePage::all() {
            for byte in 0..=0xFF {
                let reading = user_name(&[0xC1, byte], page);
                assert_ne!(reading, UserReading::Ambiguous, "{page:?} {byte:02x}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_a_page_has_survives(bytes in vec(any::<u8>(), 0..100), at in 0..58_usize) {
            let page = CodePage::all().nth(at).unwrap();
            let text = page.decode_all(&bytes);
            prop_assert_eq!(text.chars().count(), bytes.len());
            let again = page.decode_all(&page.encode_all(&text));
            prop_assert_eq!(again, text.replace(char::REPLACEMENT_CHARACTER, "?"));
        }

        #[test]
        fn any_field_has_a_reading(field in vec(any::<u8>(), 0..130), at in 0..58_usize) {
            let page = CodePage::all().nth(at).unwrap();
            if let UserReading::One(user) = user_name(&field, page) {
                prop_assert!(user.as_str().len() <= field.len());
            }
        }
    }
}
