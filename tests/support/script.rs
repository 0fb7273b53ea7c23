//! Conversations in files: what is given to a gate, and what it must do.
//!
//! ```text
//! # A comment. A line that starts with a blank goes on with the line before it.
//! S order code-first          a setting of the gate
//! C bytes      H bytes        bytes from the client, from the host
//! C closed     H closed       that side closes
//! V admit | challenge [message] | panel | refuse [close]      the guard's verdict
//! T 300ms                     time passes
//! E ended                     an operator ends the session
//! =>C bytes    =>H bytes      expected bytes to the client, to the host
//! =>? signon ANNA | answer ANNA passcode 123456 | answer ANNA resend | answer ANNA panel F5 1|   expected question
//! =>! accepted ANNA | refused ANNA | cancelled ANNA | unknown-display | suspicious       expected report
//! =>X refused                 expected close
//! ```
//!
//! Bytes are written as hex (`0440 00*10` repeats), as EBCDIC text in double quotes, as ASCII text in single quotes, as a
//! record in braces (`{03 0440}`: opcode, content; `{00/40}`: opcode and flags; header, doubled FF and end of record come by
//! themselves), or as a word from the file `words` beside the scripts (`@form`, `@signon(ANNA,SECRET)`). Where a line with
//! bytes to the client names a screen of ours (`=>C @passcode-screen "text"`, `=>C @panel`), the record must have the form of our screens
//! and hold the texts.
//!
//! The encodings here are deliberately not those of the product: they are the second opinion.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::files;

/// One conversation.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// The file's name without its ending.
    pub(crate) name: String,
    /// Settings of the gate, in order.
    pub(crate) settings: Vec<(String, String)>,
    /// What happens.
    pub(crate) steps: Vec<Step>,
}

/// One thing that happens and all that the gate must do about it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The line it stands on.
    pub(crate) line: usize,
    /// What happens.
    pub(crate) given: Given,
    /// What the gate must do, in order; nothing else.
    pub(crate) expected: Vec<Expected>,
}

/// What happens.
#[derive(Debug, Clone)]
pub(crate) enum Given {
    Client(Vec<u8>),
    Host(Vec<u8>),
    ClientClosed,
    HostClosed,
    Verdict(Vec<String>),
    Time(Duration),
    Ended,
}

/// What the gate must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    Client(Vec<u8>),
    Host(Vec<u8>),
    Screen { kind: ScreenKind, texts: Vec<String> },
    Question(String),
    Report(String),
    Close(String),
}

/// The screens that the gateway draws itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScreenKind {
    /// Has one input field and asks for it.
    Passcode,
    /// Has the fields of the panel of all conversations: two options and a ticket.
    Panel,
    /// Has no input field.
    Farewell,
    /// The screen from before the gate, drawn again: asks for nothing.
    Repaint,
    /// The form drawn again with a message of ours.
    FormAgain,
}

/// The words of a folder: names of byte sequences.
pub(crate) type Words = BTreeMap<String, String>;

/// Reads all scripts of a folder.
pub(crate) fn read(folder: &Path) -> Vec<Script> {
    let words = words(folder);
    let scripts: Vec<Script> = files(folder, "script")
        .iter()
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap();
            parse(name, &std::fs::read_to_string(path).unwrap(), &words)
        })
        .collect();
    assert!(!scripts.is_empty(), "no scripts in {}", folder.display());
    scripts
}

/// Reads the words of a folder: lines `@name = bytes`.
pub(crate) fn words(folder: &Path) -> Words {
    let text = std::fs::read_to_string(folder.join("words")).unwrap();
    logical(&text)
        .into_iter()
        .map(|(line, text)| {
            let (name, bytes) = text.split_once('=').unwrap_or_else(|| panic!("words:{line}: no `=`"));
            let name = name.trim().strip_prefix('@').unwrap_or_else(|| panic!("words:{line}: no `@`"));
            (name.to_owned(), bytes.trim().to_owned())
        })
        .collect()
}

/// Lines without comments, each with those that go on with it.
fn logical(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = uncommented(line);
        if line.trim().is_empty() {
            continue;
        }
        match lines.last_mut() {
            Some((_, last)) if line.starts_with([' ', '\t']) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => lines.push((at + 1, line.trim_end().to_owned())),
        }
    }
    lines
}

/// A line up to its `#`, unless that stands in quotes.
fn uncommented(line: &str) -> &str {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return &line[..at],
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    line
}

fn parse(name: &str, text: &str, words: &Words) -> Script {
    let mut script = Script { name: name.to_owned(), settings: Vec::new(), steps: Vec::new() };
    for (line, text) in logical(text) {
        let place = format!("{name}.script:{line}");
        let (key, rest) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
        let rest = rest.trim();
        if let Some(key) = key.strip_prefix("=>") {
            let expected = match key {
                "C" => screen(rest).unwrap_or_else(|| Expected::Client(bytes(rest, words, &place))),
                "H" => Expected::Host(bytes(rest, words, &place)),
                "?" => Expected::Question(rest.to_owned()),
                "!" => Expected::Report(rest.to_owned()),
                "X" => Expected::Close(rest.to_owned()),
                _ => panic!("{place}: unknown line {key}"),
            };
            script.steps.last_mut().unwrap_or_else(|| panic!("{place}: nothing was given yet")).expected.push(expected);
            continue;
        }
        let given = match (key, rest) {
            ("S", _) => {
                let (key, value) = rest.split_once(' ').unwrap_or_else(|| panic!("{place}: a setting has a value"));
                script.settings.push((key.to_owned(), value.trim().to_owned()));
                continue;
            }
            ("C", "closed") => Given::ClientClosed,
            ("H", "closed") => Given::HostClosed,
            ("C", _) => Given::Client(bytes(rest, words, &place)),
            ("H", _) => Given::Host(bytes(rest, words, &place)),
            ("V", _) => Given::Verdict(rest.split(' ').map(str::to_owned).collect()),
            ("T", _) => Given::Time(duration(rest).unwrap_or_else(|| panic!("{place}: no time: {rest}"))),
            ("E", "ended") => Given::Ended,
            _ => panic!("{place}: unknown line {key} {rest}"),
        };
        script.steps.push(Step { line, given, expected: Vec::new() });
    }
    script
}

/// `300ms`, `5s`, `2m`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let count: u64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_secs(count * 60)),
        _ => None,
    }
}

fn screen(text: &str) -> Option<Expected> {
    let (name, texts) = text.split_once(' ').unwrap_or((text, ""));
    let kind = match name {
        "@passcode-screen" => ScreenKind::Passcode,
        "@panel" => ScreenKind::Panel,
        "@farewell" => ScreenKind::Farewell,
        "@repaint" => ScreenKind::Repaint,
        "@form-again" => ScreenKind::FormAgain,
        _ => return None,
    };
    Some(Expected::Screen { kind, texts: texts.split('"').skip(1).step_by(2).map(str::to_owned).collect() })
}

/// Reads the notation for bytes.
pub(crate) fn bytes(text: &str, words: &Words, place: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '"' | '\'' => {
                let end = rest[1..].find(first).unwrap_or_else(|| panic!("{place}: open quote in {text}")) + 1;
                let inner = &rest[1..end];
                out.extend(inner.chars().map(|c| if first == '"' { ebcdic(c) } else { u8::try_from(c).unwrap() }));
                end + 1
            }
            '{' => {
                let end = closing(rest, '{', '}').unwrap_or_else(|| panic!("{place}: open brace in {text}"));
                let inner = rest[1..end].trim();
                let (head, content) = inner.split_once(' ').unwrap_or((inner, ""));
                let (opcode, flags) = head.split_once('/').unwrap_or((head, "00"));
                let opcode = u8::from_str_radix(opcode, 16).unwrap_or_else(|_| panic!("{place}: opcode {opcode}"));
                let flags = u8::from_str_radix(flags, 16).unwrap_or_else(|_| panic!("{place}: flags {flags}"));
                out.extend(record(opcode, flags, &bytes(content, words, place)));
                end + 1
            }
            '@' => {
                let name =
                    rest[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '-').map_or(rest.len(), |at| at + 1);
                let arguments_end = if rest[name..].starts_with('(') {
                    name + 1 + closing(&rest[name..], '(', ')').unwrap_or_else(|| panic!("{place}: open ( in {text}"))
                } else {
                    name
                };
                let arguments = rest[name..arguments_end].strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
                let word =
                    words.get(&rest[1..name]).unwrap_or_else(|| panic!("{place}: unknown word {}", &rest[..name]));
                let mut filled = word.clone();
                for (at, argument) in arguments.map(split).unwrap_or_default().iter().enumerate() {
                    filled = filled.replace(&format!("${}", at + 1), argument);
                }
                let filled: String =
                    filled.split('$').enumerate().map(|(at, part)| if at == 0 { part } else { &part[1..] }).collect();
                out.extend(bytes(&filled, words, place));
                arguments_end
            }
            _ => {
                let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
                let digits = &rest[..end];
                assert!(!digits.is_empty() && digits.len().is_multiple_of(2), "{place}: no bytes: {rest}");
                let run: Vec<u8> = (0..digits.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                    .collect();
                let counted = rest[end..].strip_prefix('*').map(|times| {
                    let length = times.find(|c: char| !c.is_ascii_digit()).unwrap_or(times.len());
                    (times[..length].parse::<usize>().unwrap_or_else(|_| panic!("{place}: no count: {times}")), length)
                });
                let (times, length) = counted.map_or((1, 0), |(times, length)| (times, length + 1));
                for _ in 0..times {
                    out.extend(&run);
                }
                end + length
            }
        };
        rest = rest[taken..].trim_start();
    }
    out
}

/// Where the bracket that opens `text` is closed, quotes respected.
fn closing(text: &str, open: char, close: char) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match quote {
            Some(mark) if mark == c => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == open => depth += 1,
            None if c == close => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            None => {}
        }
    }
    None
}

/// Splits arguments at commas that stand in no bracket and no quote.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut depth, mut quote) = (0_i32, None);
    for c in text.chars() {
        match (quote, c) {
            (Some(mark), _) if mark == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '{') => depth += 1,
            (None, ')' | '}') => depth -= 1,
            (None, ',') if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    parts.into_iter().map(|part| part.trim().to_owned()).collect()
}

/// A record as it stands on the wire.
pub(crate) fn record(opcode: u8, flags: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + 10).unwrap().to_be_bytes();
    let header = [length[0], length[1], 0x12, 0xA0, 0, 0, 4, flags, 0, opcode];
    let mut wire: Vec<u8> = header
        .iter()
        .chain(content)
        .flat_map(|&byte| std::iter::repeat_n(byte, if byte == 0xFF { 2 } else { 1 }))
        .collect();
    wire.extend([0xFF, 0xEF]);
    wire
}

/// Characters of CCSID 37 that the scripts use, by IBM's chart.
pub(crate) fn ebcdic(c: char) -> u8 {
    const CHART: &[(char, char, u8)] = &[
        ('a', 'i', 0x81),
        ('j', 'r', 0x91),
        ('s', 'z', 0xA2),
        ('A', 'I', 0xC1),
        ('J', 'R', 0xD1),
        ('S', 'Z', 0xE2),
        ('0', '9', 0xF0),
        (' ', ' ', 0x40),
        ('.', '.', 0x4B),
        ('<', '<', 0x4C),
        ('(', '(', 0x4D),
        ('+', '+', 0x4E),
        ('&', '&', 0x50),
        ('$', '$', 0x5B),
        ('*', '*', 0x5C),
        (')', ')', 0x5D),
        (';', ';', 0x5E),
        ('-', '-', 0x60),
        ('/', '/', 0x61),
        (',', ',', 0x6B),
        ('%', '%', 0x6C),
        ('_', '_', 0x6D),
        ('>', '>', 0x6E),
        ('?', '?', 0x6F),
        (':', ':', 0x7A),
        ('#', '#', 0x7B),
        ('@', '@', 0x7C),
        ('\'', '\'', 0x7D),
        ('=', '=', 0x7E),
        ('!', '!', 0x5A),
    ];
    let row =
        CHART.iter().find(|row| (row.0..=row.1).contains(&c)).unwrap_or_else(|| panic!("{c:?} is not in the chart"));
    row.2 + u8::try_from(c as u32 - row.0 as u32).unwrap()
}

/// The reverse, with a dot for everything that is not in the chart: for messages of failed tests.
pub(crate) fn readable(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|&byte| {
            (' '..='z')
                .filter(|c| c.is_ascii_alphanumeric() || ".-:/, ".contains(*c))
                .find(|&c| ebcdic(c) == byte)
                .unwrap_or('·')
        })
        .collect()
}
