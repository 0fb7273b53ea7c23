//! What a tty sends when keys are pressed, as keys of the 5250: escape sequences of xterm, the Linux console and their kin,
//! control characters, and Esc as a prefix where a keyboard lacks a key.
//!
//! Invariant: how the bytes are cut into pieces changes nothing. A lone Esc waits for the next key, so nothing here
//! needs a clock.

use proxy_tn5250::input::Aid;

use super::keyboard::Key;

/// The keys, for `--help`.
pub const HELP: &str = "\
Keys:
  Enter, Tab, Shift-Tab, arrows, Home, End, Insert, Delete, Backspace   as named
  F1-F12, Shift-F1 to Shift-F12 (F13-F24)       function keys
  Esc 1 ... Esc 9, Esc 0, Esc -, Esc =          F1-F12 where the window keeps them for itself
  Esc ! ... (Shift with the same keys)          F13-F24
  Page Up, Page Down                            Roll Down, Roll Up
  Esc Enter, Ctrl-X                             Field Exit
  Ctrl-N, Ctrl-D                                Field Minus, Dup
  Ctrl-J                                        New Line
  Ctrl-R, Esc r                                 Reset
  Ctrl-A, Esc a                                 Attention
  Ctrl-Y, Esc s                                 System Request: key its line, then Enter
  Ctrl-E                                        Erase Input
  Esc c, Esc h, Esc p                           Clear, Help, Print
  Ctrl-L                                        draw the screen again
  Ctrl-C, Ctrl-]                                quit";

/// A key press, as the console takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Press {
    /// A key of the 5250.
    Key(Key),
    /// System Request: a line is to be keyed first.
    SystemRequest,
    /// Draw all again.
    Redraw,
    /// Leave.
    Quit,
}

const ESC: u8 = 0x1B;
/// Bytes of the longest sequence that means something; a longer one is skipped.
const SEQUENCE_MAX: usize = 16;

/// Turns bytes into key presses.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    pending: Vec<u8>,
}

impl Decoder {
    /// Takes bytes; what is no whole key yet waits for more.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Press> {
        self.pending.extend_from_slice(bytes);
        let mut presses = Vec::new();
        let mut used = 0;
        while let Some((length, press)) = take(&self.pending[used..]) {
            used += length;
            presses.extend(press);
        }
        self.pending.drain(..used);
        presses
    }

    /// Whether an Esc waits for the key it belongs to.
    pub(super) fn is_prefixed(&self) -> bool {
        self.pending.first() == Some(&ESC)
    }
}

/// The first key, and the number of its bytes; `None` where more bytes are needed.
fn take(bytes: &[u8]) -> Option<(usize, Option<Press>)> {
    let (&first, rest) = bytes.split_first()?;
    match first {
        ESC => match rest {
            [] => None,
            [b'[', b'[', ..] => rest.get(2).map(|&letter| (4, linux_function(letter))),
            [b'[', tail @ ..] => control_sequence(tail).map(|(length, press)| (length + 2, press)),
            [b'O', tail @ ..] => tail.first().map(|&letter| (3, letter_key(letter, 1))),
            [second, ..] => Some((2, prefixed(*second))),
        },
        0x00..=0x1F | 0x7F => Some((1, control(first))),
        _ => character(bytes),
    }
}

fn character(bytes: &[u8]) -> Option<(usize, Option<Press>)> {
    let wanted = match bytes.first()? {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => 1,
    };
    let bytes = bytes.get(..wanted)?;
    let character = core::str::from_utf8(bytes).ok().and_then(|text| text.chars().next());
    // A byte that is no UTF-8 is skipped alone.
    Some((if character.is_some() { wanted } else { 1 }, character.map(|character| Press::Key(Key::Char(character)))))
}

const fn key(key: Key) -> Option<Press> {
    Some(Press::Key(key))
}

const fn aid(aid: Aid) -> Option<Press> {
    Some(Press::Key(Key::Aid(aid)))
}

fn function(number: u8) -> Option<Press> {
    Aid::function_key(number).map(|aid| Press::Key(Key::Aid(aid)))
}

const fn control(byte: u8) -> Option<Press> {
    match byte {
        b'\r' => aid(Aid::ENTER),
        b'\n' => key(Key::NewLine),
        b'\t' => key(Key::Tab),
        0x08 | 0x7F => key(Key::Backspace),
        0x01 => key(Key::Attention),
        0x03 | 0x1D => Some(Press::Quit),
        0x04 => key(Key::Dup),
        0x05 => key(Key::EraseInput),
        0x0C => Some(Press::Redraw),
        0x0E => key(Key::FieldMinus),
        0x12 => key(Key::Reset),
        0x18 => key(Key::FieldExit),
        0x19 => Some(Press::SystemRequest),
        _ => None,
    }
}

/// What follows an Esc that begins no sequence.
fn prefixed(byte: u8) -> Option<Press> {
    const PLAIN: &[u8; 12] = b"1234567890-=";
    const SHIFTED: &[u8; 12] = b"!@#$%^&*()_+";
    let place = |row: &[u8; 12]| row.iter().position(|&it| it == byte).and_then(|place| u8::try_from(place).ok());
    if let Some(place) = place(PLAIN) {
        return function(place + 1);
    }
    if let Some(place) = place(SHIFTED) {
        return function(place + 13);
    }
    match byte.to_ascii_lowercase() {
        b'\r' => key(Key::FieldExit),
        b'\t' => key(Key::BackTab),
        b'r' => key(Key::Reset),
        b'a' => key(Key::Attention),
        b's' => Some(Press::SystemRequest),
        b'c' => aid(Aid::CLEAR),
        b'h' | b'?' => aid(Aid::HELP),
        b'p' => aid(Aid::PRINT),
        _ => None,
    }
}

/// `CSI parameters final`, after the CSI.
fn control_sequence(tail: &[u8]) -> Option<(usize, Option<Press>)> {
    let Some(end) = tail.iter().position(|byte| (0x40..=0x7E).contains(byte)) else {
        return (tail.len() >= SEQUENCE_MAX).then_some((tail.len(), None));
    };
    let (parameters, last) = (&tail[..end], tail[end]);
    let mut numbers = parameters.split(|&byte| byte == b';').map(|digits| {
        digits.iter().try_fold(0u8, |sum, digit| {
            sum.checked_mul(10)?.checked_add(digit.checked_sub(b'0').filter(|digit| *digit <= 9)?)
        })
    });
    let number = numbers.next().flatten().unwrap_or(0);
    let modifier = numbers.next().flatten().unwrap_or(1);
    let press = if last == b'~' { numbered(number, modifier) } else { letter_key(last, modifier) };
    Some((end + 1, press))
}

/// Shift is bit 0 of the modifier minus one.
fn shifted(number: u8, modifier: u8) -> Option<Press> {
    let shift = modifier.saturating_sub(1) & 1 != 0;
    function(if shift && number <= 12 { number + 12 } else { number })
}

fn numbered(number: u8, modifier: u8) -> Option<Press> {
    match number {
        1 | 7 => key(Key::Home),
        2 => key(Key::Insert),
        3 => key(Key::Delete),
        4 | 8 => key(Key::End),
        5 => aid(Aid::ROLL_DOWN),
        6 => aid(Aid::ROLL_UP),
        11..=15 => shifted(number - 10, modifier),
        17..=21 => shifted(number - 11, modifier),
        23 | 24 => shifted(number - 12, modifier),
        // Shift with the function keys of the VT220 and the Linux console.
        25 | 26 => function(number - 12),
        28 | 29 => function(number - 13),
        31..=34 => function(number - 14),
        _ => None,
    }
}

fn letter_key(letter: u8, modifier: u8) -> Option<Press> {
    match letter {
        b'A' => key(Key::Up),
        b'B' => key(Key::Down),
        b'C' => key(Key::Right),
        b'D' => key(Key::Left),
        b'H' => key(Key::Home),
        b'F' => key(Key::End),
        b'M' => aid(Aid::ENTER),
        b'Z' => key(Key::BackTab),
        b'P'..=b'S' => shifted(letter - b'P' + 1, modifier),
        _ => None,
    }
}

fn linux_function(letter: u8) -> Option<Press> {
    if matches!(letter, b'A'..=b'E') { function(letter - b'A' + 1) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_however_their_bytes_are_cut() {
        let f = |number| function(number).unwrap();
        let k = Press::Key;
        let table: Vec<(&[u8], Press)> = vec![
            (b"a", k(Key::Char('a'))),
            ("é".as_bytes(), k(Key::Char('é'))),
            ("€".as_bytes(), k(Key::Char('€'))),
            (b"\r", k(Key::Aid(Aid::ENTER))),
            (b"\n", k(Key::NewLine)),
            (b"\x1b\r", k(Key::FieldExit)),
            (b"\x1b[Z", k(Key::BackTab)),
            (b"\x1b[A", k(Key::Up)),
            (b"\x1bOD", k(Key::Left)),
            (b"\x1b[1~", k(Key::Home)),
            (b"\x1bOF", k(Key::End)),
            (b"\x1b[5~", k(Key::Aid(Aid::ROLL_DOWN))),
            (b"\x1b[6~", k(Key::Aid(Aid::ROLL_UP))),
            (b"\x1bOP", f(1)),
            (b"\x1b[[E", f(5)),
            (b"\x1b[15~", f(5)),
            (b"\x1b[21~", f(10)),
            (b"\x1b[24~", f(12)),
            (b"\x1b[1;2P", f(13)),
            (b"\x1b[15;2~", f(17)),
            (b"\x1b[24;2~", f(24)),
            (b"\x1b[25~", f(13)),
            (b"\x1b[34~", f(20)),
            (b"\x1b3", f(3)),
            (b"\x1b=", f(12)),
            (b"\x1b!", f(13)),
            (b"\x1b+", f(24)),
            (b"\x1bs", Press::SystemRequest),
            (b"\x19", Press::SystemRequest),
            (b"\x01", k(Key::Attention)),
            (b"\x12", k(Key::Reset)),
            (b"\x03", Press::Quit),
            (b"\x1d", Press::Quit),
        ];
        let all: Vec<u8> = table.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
        let wanted: Vec<Press> = table.into_iter().map(|(_, press)| press).collect();
        for size in 1..=all.len() {
            let mut decoder = Decoder::default();
            let got: Vec<Press> = all.chunks(size).flat_map(|chunk| decoder.feed(chunk)).collect();
            assert_eq!(got, wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn what_means_nothing_is_skipped() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.feed(b"\x1b[99;99;99~\x1b\x1b\xff\x80a"), [Press::Key(Key::Char('a'))]);
        assert_eq!(decoder.feed(b"\x1b[111111111111111111111111111"), []);
        assert!(decoder.feed(b"\x1b").is_empty() && decoder.is_prefixed());
    }
}
