//! Contacts: e-mail addresses and phone numbers that passcodes are sent to, the numbers in E.164, and the languages of
//! the messages.
//!
//! Invariant: what [`mask`] gives has the same length of mask whatever was masked, so that it tells no length.

use core::fmt;
use core::str::FromStr;

use crate::factor::Factor;

/// The fewest and the most digits of a phone number with its country's code (E.164 allows 15).
const PHONE_DIGITS: core::ops::RangeInclusive<usize> = 7..=15;

/// What a contact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContactKind {
    /// An e-mail address.
    Email,
    /// A phone number that takes text messages.
    Sms,
}

impl ContactKind {
    /// The name on the command line, in the store, and of the factor in the audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
        }
    }
}

impl ContactKind {
    /// What a passcode that is sent there proves.
    #[must_use]
    pub const fn factor(self) -> Factor {
        match self {
            Self::Email => Factor::Email,
            Self::Sms => Factor::Sms,
        }
    }
}

impl fmt::Display for ContactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ContactKind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "email" => Ok(Self::Email),
            "sms" => Ok(Self::Sms),
            _ => Err("a contact is email or sms"),
        }
    }
}

/// The language of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// German.
    De,
    /// French.
    Fr,
    /// Spanish.
    Es,
    /// Italian.
    It,
}

impl Language {
    /// All languages.
    pub const ALL: [Self; 5] = [Self::En, Self::De, Self::Fr, Self::Es, Self::It];
    /// Their names, in the same order.
    pub const NAMES: [&'static str; 5] = ["en", "de", "fr", "es", "it"];

    /// The name on the command line and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::De => "de",
            Self::Fr => "fr",
            Self::Es => "es",
            Self::It => "it",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Language {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|language| language.as_str() == text)
            .ok_or("a language is one of en, de, fr, es, it")
    }
}

/// `text` as an E.164 number, `+4917012345678`; `None` where it is none. Blanks and the marks that people put between
/// digits are left out, and `00` in front stands for `+`. The country's code must be there: nobody could guess it.
#[must_use]
pub fn phone(text: &str) -> Option<String> {
    // The zero that is dialled within a country only.
    let text = text.trim().replace("(0)", "");
    let rest = text.strip_prefix('+').or_else(|| text.strip_prefix("00"))?;
    let mut number = String::from("+");
    for character in rest.chars() {
        match character {
            '0'..='9' => number.push(character),
            ' ' | '-' | '.' | '/' | '(' | ')' => {}
            _ => return None,
        }
    }
    let digits = number.get(1..)?;
    (PHONE_DIGITS.contains(&digits.len()) && !digits.starts_with('0')).then_some(number)
}

/// A contact as it may be shown: of an address the first character, a mask of fixed length, and the domain; of a number
/// two digits at each end, and a mask of fixed length.
#[must_use]
pub fn mask(address: &str) -> String {
    if let Some(digits) = address.strip_prefix('+').filter(|_| !address.contains('@')) {
        let head: String = digits.chars().take(2).collect();
        let tail: String = digits.chars().skip(digits.chars().count().saturating_sub(2).max(2)).collect();
        return format!("+{head} *** {tail}");
    }
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let first: String = local.chars().take(1).collect();
    if domain.is_empty() { format!("{first}***") } else { format!("{first}***@{domain}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_one_length() {
        assert_eq!(mask("anna@example.com"), "a***@example.com");
        assert_eq!(mask("a@example.com"), "a***@example.com");
        assert_eq!(mask("+tag@example.com"), "+***@example.com");
        assert_eq!(mask("x"), "x***");
        assert_eq!(mask(""), "***");
        assert_eq!(mask("+4917012345678"), "+49 *** 78");
        assert_eq!(mask("+15550100"), "+15 *** 00");
        assert_eq!(mask("+1"), "+1 *** ");
    }

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for (text, number) in [
            ("+4917012345678", Some("+4917012345678")),
            (" +49 (0)170 / 123-456.78 ", Some("+4917012345678")),
            ("0049 170 12345678", Some("+4917012345678")),
            ("+1 (202) 555-0100", Some("+12025550100")),
            ("0170 12345678", None),
            ("+0170 12345678", None),
            ("+49", None),
            ("+1234567890123456", None),
            ("+49 170 12345678x5", None),
            ("anna@example.com", None),
            ("", None),
        ] {
            assert_eq!(phone(text).as_deref(), number, "{text}");
        }
    }

    #[test]
    fn names_read_back() {
        for language in Language::ALL {
            assert_eq!(language.as_str().parse(), Ok(language));
        }
        assert_eq!(Language::ALL.map(Language::as_str), Language::NAMES);
        assert!("xx".parse::<Language>().is_err());
        for kind in [ContactKind::Email, ContactKind::Sms] {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
    }
}
