//! Terminal types: how a client names its own, and what a host speaks with it.
//!
//! Sources: RFC 1091 (subnegotiation), RFC 1205 §1 and RFC 4777 §9 (types), IBM's list of 5250 emulation types.

use crate::Error;

/// The body of a TERMINAL-TYPE subnegotiation (RFC 1091).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TerminalType<'a> {
    /// The client's terminal type.
    Is(&'a [u8]),
    /// The host asks for the next one.
    Send,
}

impl TerminalType<'_> {
    /// The body for the wire, for [`write_subnegotiation`](super::write_subnegotiation).
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        match self {
            Self::Is(name) => [&[0], *name].concat(),
            Self::Send => vec![1],
        }
    }
}

/// Parses the body of a TERMINAL-TYPE subnegotiation.
///
/// # Errors
/// The body is neither IS with a name nor SEND alone.
pub fn terminal_type(body: &[u8]) -> Result<TerminalType<'_>, Error> {
    match body {
        [0, name @ ..] if !name.is_empty() => Ok(TerminalType::Is(name)),
        [1] => Ok(TerminalType::Send),
        [0] => Err(Error::new("terminal type without a name", 1)),
        _ => Err(Error::new("neither IS nor SEND", 0)),
    }
}

/// What the host speaks with a terminal type: it picks 5250, 3270, VT or ASCII by the name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A 5250 display.
    Display,
    /// A 5250 printer: records, but no operator and no sign-on.
    Printer,
    /// Anything else, with which the host speaks another protocol.
    Other,
}

/// The 5250 displays of RFC 1205 §1 and of IBM's list of emulation types, without "IBM-"; true: can show 27×132.
const DISPLAYS: [(&[u8], bool); 15] = [
    (b"3179-2", false),
    (b"3180-2", true),
    (b"3196-A1", false),
    (b"3477-FC", true),
    (b"3477-FG", true),
    (b"3486-BA", false),
    (b"3487-HA", false),
    (b"3487-HC", false),
    (b"5251-11", false),
    (b"5291-1", false),
    (b"5292-2", false),
    (b"5555-B01", false),
    (b"5555-C01", true),
    (b"5555-G01", false),
    (b"5555-G02", true),
];

/// The printers of RFC 4777 §9.
const PRINTERS: [&[u8]; 2] = [b"3812-1", b"5553-B01"];

/// The mode that the host falls into with this terminal type. An allow-list: what is not on it is [`Mode::Other`].
#[must_use]
pub fn mode_of(terminal_type: &[u8]) -> Mode {
    if display(terminal_type).is_some() {
        Mode::Display
    } else if model(terminal_type).is_some_and(|model| PRINTERS.iter().any(|known| known.eq_ignore_ascii_case(model))) {
        Mode::Printer
    } else {
        Mode::Other
    }
}

/// Whether this is a display that can show 27 rows of 132 columns.
#[must_use]
pub fn is_wide(terminal_type: &[u8]) -> bool {
    display(terminal_type).unwrap_or(false)
}

fn display(terminal_type: &[u8]) -> Option<bool> {
    let model = model(terminal_type)?;
    DISPLAYS.iter().find(|(known, _)| known.eq_ignore_ascii_case(model)).map(|(_, wide)| *wide)
}

fn model(terminal_type: &[u8]) -> Option<&[u8]> {
    let (maker, model) = terminal_type.split_at_checked(4)?;
    maker.eq_ignore_ascii_case(b"IBM-").then_some(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_types() {
        assert_eq!(terminal_type(b"\x00IBM-3179-2"), Ok(TerminalType::Is(b"IBM-3179-2")));
        assert_eq!(terminal_type(b"\x01"), Ok(TerminalType::Send));
        for body in [&b""[..], b"\x00", b"\x01x", b"\x02"] {
            assert!(terminal_type(body).is_err(), "{body:02x?}");
        }
        for (name, mode, wide) in [
            (&b"IBM-3179-2"[..], Mode::Display, false),
            (b"ibm-3477-fc", Mode::Display, true),
            (b"IBM-3180-2", Mode::Display, true),
            (b"IBM-5555-C01", Mode::Display, true),
            (b"IBM-5555-B01", Mode::Display, false),
            (b"IBM-5555-A01", Mode::Other, false),
            (b"IBM-3812-1", Mode::Printer, false),
            (b"IBM-5553-B01", Mode::Printer, false),
            (b"IBM-3279-2-E", Mode::Other, false),
            (b"IBM-3278-2", Mode::Other, false),
            (b"IBM-3179-2 ", Mode::Other, false),
            (b"IBM-3179-", Mode::Other, false),
            (b"VT220", Mode::Other, false),
            (b"", Mode::Other, false),
        ] {
            assert_eq!((mode_of(name), is_wide(name)), (mode, wide), "{}", name.escape_ascii());
        }
    }
}
