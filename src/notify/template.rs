//! Templates of messages: their names, the variables each may hold, and how `{variable}` is replaced.
//!
//! What is built in stands in `src/notify/text/`, one file per language; operators change texts in the store. There is no
//! language in templates: a name in braces is replaced, `{{` and `}}` stand for braces, and anything else is an error.
//!
//! Invariants: a passcode's text holds the passcode and its letter, and no subject can hold a passcode, since subjects stand
//! on lock screens and in logs. Values never bring line ends or control characters with them.

use std::fmt::Write as _;

use policy::{Language, Secret};

use crate::audit::neutral;

/// The longest text of a template, in characters.
const TEXT_MAX: usize = 4_000;
/// The longest subject, in characters.
const SUBJECT_MAX: usize = 200;
/// How many characters of the GSM alphabet one text message holds, and how many of any other.
const SMS: (usize, usize) = (160, 70);

/// One template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// The variables that must stand in it.
    pub needs: &'static [&'static str],
    /// The variables that may.
    pub may: &'static [&'static str],
}

const ABOUT: &[&str] = &["prefix", "user", "host", "service", "source", "time", "expires", "gateway", "contact"];
const SECRET: &[&str] =
    &["prefix", "passcode", "hint", "user", "host", "service", "source", "time", "expires", "gateway", "contact"];
const TEST: &[&str] = &["user", "gateway", "time", "contact"];
const VERIFY: &[&str] = &["code", "user", "gateway", "time", "expires", "contact"];
const CHANGE: &[&str] = &["user", "change", "gateway", "time", "contact"];
const ALERT: &[&str] = &["user", "host", "service", "source", "time", "gateway", "contact"];
const ENROLLED: &[&str] = &["user", "factor", "gateway", "time", "contact"];
const OPERATOR: &[&str] = &["event", "detail", "node", "time", "gateway"];

macro_rules! templates {
    ($($name:literal $purpose:literal $needs:expr, $may:expr;)*) => {
        /// All templates there are.
        pub const TEMPLATES: &[Template] =
            &[$(Template { name: $name, purpose: $purpose, needs: $needs, may: $may },)*];
    };
}

templates! {
    "passcode-subject" "the subject of a passcode's mail" &[], ABOUT;
    "passcode-body" "the text of a passcode's mail" &["prefix", "passcode"], SECRET;
    "passcode-sms" "a passcode's text message" &["prefix", "passcode"], SECRET;
    "hint-telnet" "{hint} at a terminal" &[], &["prefix"];
    "hint-ftp" "{hint} for FTP" &[], &["prefix"];
    "test-subject" "the subject of a test mail" &[], TEST;
    "test-body" "the text of a test mail" &[], TEST;
    "test-sms" "a test text message" &[], TEST;
    "verify-subject" "the subject of the mail that confirms an address" &[], TEST;
    "verify-body" "the text of the mail that confirms an address" &["code"], VERIFY;
    "verify-sms" "the text message that confirms a number" &["code"], VERIFY;
    "contact-changed-subject" "the subject of the mail about changed contacts" &["user"], CHANGE;
    "contact-changed-body" "the text of the mail about changed contacts" &["user", "change"], CHANGE;
    "contact-changed-sms" "the text message about changed contacts" &["user", "change"], CHANGE;
    "change-added" "{change} where a contact was added" &["changed"], &["changed"];
    "change-verified" "{change} where a contact was confirmed" &["changed"], &["changed"];
    "change-removed" "{change} where a contact was removed" &["changed"], &["changed"];
    "alert-subject" "the subject of the mail about a right password with a wrong passcode" &["user"], ALERT;
    "alert-body" "the text of the mail about a right password with a wrong passcode" &["user", "source"], ALERT;
    "alert-sms" "the text message about a right password with a wrong passcode" &["user", "source"], ALERT;
    "enrolled-subject" "the subject of the mail about a new factor" &["user"], ENROLLED;
    "enrolled-body" "the text of the mail about a new factor" &["user", "factor"], ENROLLED;
    "enrolled-sms" "the text message about a new factor" &["user", "factor"], ENROLLED;
    "operator-subject" "the subject of a mail to operators" &["event"], OPERATOR;
    "operator-body" "the text of a mail to operators" &["event", "detail"], OPERATOR;
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A brace that opens nothing or closes nothing.
    #[error("a brace without its partner, at character {0}; write {{{{ or }}}} for a brace")]
    Brace(usize),
    /// A variable that the template has not.
    #[error("there is no {{{found}}} here; there are: {known}")]
    Unknown {
        /// What stands there.
        found: String,
        /// What may.
        known: String,
    },
    /// A variable that must be there.
    #[error("{{{0}}} is missing")]
    Missing(&'static str),
    /// It is empty.
    #[error("the text is empty")]
    Empty,
    /// It is too long.
    #[error("the text has more than {0} characters")]
    Long(usize),
    /// It holds control characters, or a line end where one line is expected.
    #[error("the text holds {0}")]
    Control(&'static str),
}

/// A value of a variable.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// One line that anybody may read.
    Plain(&'a str),
    /// Lines of our own.
    Lines(&'a str),
    /// It must not be left behind.
    Secret(&'a Secret<String>),
}

impl Template {
    /// The template of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        TEMPLATES.iter().find(|template| template.name == name)
    }

    /// Whether it is one line.
    #[must_use]
    pub fn is_line(&self) -> bool {
        self.name.ends_with("-subject") || self.name.starts_with("change-")
    }

    /// Whether it is a text message.
    #[must_use]
    pub fn is_sms(&self) -> bool {
        self.name.ends_with("-sms")
    }

    /// The text that is built in.
    #[must_use]
    pub fn built_in(&self, language: Language) -> &'static str {
        let file = match language {
            Language::En => include_str!("text/en.txt"),
            Language::De => include_str!("text/de.txt"),
            Language::Fr => include_str!("text/fr.txt"),
            Language::Es => include_str!("text/es.txt"),
            Language::It => include_str!("text/it.txt"),
        };
        let mut sections = file.split("== ").skip(1).filter_map(|section| section.split_once('\n'));
        sections.find(|(name, _)| *name == self.name).map_or("", |(_, text)| text.trim_end_matches('\n'))
    }

    /// `text` as it is kept: line ends are `\n`, none at the end.
    ///
    /// # Errors
    /// Where it is no text for this template: the first thing that is wrong.
    pub fn check(&self, text: &str) -> Result<String, Fault> {
        let text = text.replace("\r\n", "\n");
        let text = text.trim_end_matches(['\n', ' ']).to_owned();
        let longest = if self.is_line() { SUBJECT_MAX } else { TEXT_MAX };
        if text.trim().is_empty() {
            return Err(Fault::Empty);
        }
        if text.chars().count() > longest {
            return Err(Fault::Long(longest));
        }
        if self.is_line() && text.contains('\n') {
            return Err(Fault::Control("a line end; this template is one line"));
        }
        if text.chars().any(|character| character.is_control() && character != '\n') {
            return Err(Fault::Control("control characters"));
        }
        let mut found = Vec::new();
        for piece in pieces(&text) {
            if let Piece::Variable(name) = piece? {
                if !self.may.contains(&name) {
                    let known: Vec<_> = self.may.iter().map(|name| format!("{{{name}}}")).collect();
                    return Err(Fault::Unknown { found: name.to_owned(), known: known.join(" ") });
                }
                found.push(name);
            }
        }
        match self.needs.iter().find(|need| !found.contains(*need)) {
            Some(missing) => Err(Fault::Missing(missing)),
            None => Ok(text),
        }
    }

    /// `text` with its variables replaced. What was checked once has no faults; a variable without a value stays empty.
    #[must_use]
    pub fn fill(&self, text: &str, values: &[(&str, Value<'_>)]) -> Secret<String> {
        // Room for all of it at once: a string that grows leaves unwiped copies behind.
        let longest = values.iter().map(|(_, value)| value.length()).max().unwrap_or(0);
        let variables = text.matches('{').count();
        let mut filled = String::with_capacity(text.len() + variables * longest);
        for piece in pieces(text).flatten() {
            match piece {
                Piece::Text(words) => filled.push_str(words),
                Piece::Variable(name) => {
                    match values.iter().find(|(known, _)| *known == name).map(|(_, value)| value) {
                        Some(Value::Plain(value)) => filled.push_str(&neutral(value)),
                        Some(Value::Lines(value)) if self.is_line() => filled.push_str(&neutral(value)),
                        Some(Value::Lines(value)) => push(&mut filled, value),
                        Some(Value::Secret(value)) => filled.push_str(value.expose()),
                        None => {}
                    }
                }
            }
        }
        Secret::new(filled)
    }
}

/// The lines of a value, each without characters that move anything.
fn push(filled: &mut String, value: &str) {
    for (number, line) in value.split('\n').enumerate() {
        if number > 0 {
            filled.push('\n');
        }
        filled.push_str(&neutral(line));
    }
}

impl Value<'_> {
    fn length(&self) -> usize {
        match self {
            // A control character becomes up to eight.
            Self::Plain(value) | Self::Lines(value) => value.len() * 8,
            Self::Secret(value) => value.expose().len(),
        }
    }
}

enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str),
}

/// Cuts a text into what stays and what is replaced.
fn pieces(text: &str) -> impl Iterator<Item = Result<Piece<'_>, Fault>> {
    let mut rest = text;
    let mut failed = false;
    std::iter::from_fn(move || {
        if rest.is_empty() || failed {
            return None;
        }
        let end = rest.find(['{', '}']).unwrap_or(rest.len());
        if end > 0 {
            let (words, tail) = rest.split_at(end);
            rest = tail;
            return Some(Ok(Piece::Text(words)));
        }
        for brace in ["{{", "}}"] {
            if let Some(tail) = rest.strip_prefix(brace) {
                let words = rest.get(..1).unwrap_or_default();
                rest = tail;
                return Some(Ok(Piece::Text(words)));
            }
        }
        let variable = rest.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        match variable {
            Some((name, tail)) if !name.contains(['{', '\n']) => {
                rest = tail;
                Some(Ok(Piece::Variable(name)))
            }
            Some(_) | None => {
                failed = true;
                Some(Err(Fault::Brace(text[..text.len() - rest.len()].chars().count() + 1)))
            }
        }
    })
}

/// How many text messages `text` takes, where it is more than one: in words.
#[must_use]
pub fn sms_warning(text: &str) -> Option<String> {
    const EXTENDED: &str = "^{}\\[~]|€\u{c}";
    const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZ\
                         ÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
    let length: usize = text.chars().map(|character| if EXTENDED.contains(character) { 2 } else { 1 }).sum();
    let other: String =
        text.chars().filter(|character| !BASIC.contains(*character) && !EXTENDED.contains(*character)).collect();
    let mut warning = String::new();
    if other.is_empty() {
        if length > SMS.0 {
            let _ = write!(warning, "{length} characters: more than the {} of one text message", SMS.0);
        }
    } else {
        let units = text.encode_utf16().count();
        if units > SMS.1 {
            let _ = write!(
                warning,
                "{units} characters: more than the {} of one text message, which has room for {} without {other}",
                SMS.1, SMS.0
            );
        }
    }
    (!warning.is_empty()).then_some(warning)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(name: &str) -> &'static Template {
        Template::find(name).unwrap()
    }

    #[test]
    fn all_that_is_built_in_is_right() {
        for language in Language::ALL {
            for template in TEMPLATES {
                let text = template.built_in(language);
                assert_eq!(template.check(text).as_deref(), Ok(text), "{} {language}", template.name);
                assert!(text.lines().all(|line| template.is_sms() || line.chars().count() <= 100), "{}", template.name);
            }
            let file =
                [template("passcode-body"), template("passcode-sms")].map(|template| template.built_in(language));
            assert!(file[0].contains("\n    {prefix} {passcode}\n"), "what programs look for");
            assert!(!template("passcode-subject").may.contains(&"passcode"));
        }
        assert!(template("passcode-body").built_in(Language::En).contains("Was this not you?"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |name: &str, text: &str| template(name).check(text).unwrap_err().to_string();
        assert_eq!(check("passcode-body", "Hello {prefix}"), "{passcode} is missing");
        assert_eq!(check("passcode-sms", "{passcode}"), "{prefix} is missing");
        assert!(
            check("passcode-subject", "{passcode}").starts_with("there is no {passcode} here; there are: {prefix}")
        );
        assert!(check("passcode-body", "{prefix} {pascode}").starts_with("there is no {pascode} here"));
        assert!(check("test-body", "a { b").contains("at character 3"));
        assert!(check("test-body", "a } b").contains("at character 3"));
        assert_eq!(check("test-body", " \n"), "the text is empty");
        assert!(check("test-subject", "a\nb").contains("one line"));
        assert!(check("test-body", "a\u{1b}[2J").contains("control characters"));
        assert!(check("test-subject", &"x".repeat(201)).contains("more than 200"));
        assert_eq!(template("test-body").check("a {{b}}\r\nc\r\n").unwrap(), "a {{b}}\nc");
    }

    #[test]
    fn values_bring_nothing_with_them() {
        let secret = Secret::new("123456".to_owned());
        let values = [
            ("prefix", Value::Plain("V")),
            ("passcode", Value::Secret(&secret)),
            ("host", Value::Plain("A\r\n{user}")),
        ];
        let filled = template("passcode-body").fill("{{{prefix} {passcode}}} {host}{user}", &values);
        assert_eq!(filled.expose(), "{V 123456} A\\u{d}\\u{a}{user}");
    }

    #[test]
    fn long_text_messages_are_told() {
        assert_eq!(sms_warning(&"x".repeat(160)), None);
        assert!(sms_warning(&"x".repeat(161)).unwrap().contains("160"));
        assert!(sms_warning(&"[".repeat(81)).is_some());
        assert_eq!(sms_warning(&"ж".repeat(70)), None);
        assert!(sms_warning(&"ж".repeat(71)).unwrap().contains("70"));
    }
}
