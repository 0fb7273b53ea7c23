//! NEW-ENVIRON: what a client tells the host before its first screen, and what the host asks for.
//!
//! Sources: RFC 1572 §2 and §4 (encoding), RFC 4777 §3 to §8 (the variables), and the habits of real clients, which
//! break the encoding: see [`parse`].
//!
//! Invariants: `write` is RFC 1572 whatever the client sent, and `parse` of it gives the same variables; no value is in
//! `Debug`, since passwords, tickets and their substitutes are among them; the number of variables is bounded.

use core::fmt;

use bytes::Bytes;

use crate::Error;

/// The most variables of one subnegotiation. The RFCs define fewer than thirty.
pub const VARIABLES_MAX: usize = 128;

const IS: u8 = 0;
const SEND: u8 = 1;
const INFO: u8 = 2;

const VAR: u8 = 0;
const VALUE: u8 = 1;
const ESC: u8 = 2;
const USERVAR: u8 = 3;

/// The variables that sign a user on, or choose what runs then (RFC 4777 §5, §6).
const SIGN_ON: [&str; 7] = ["USER", "IBMRSEED", "IBMSUBSPW", "IBMTICKET", "IBMCURLIB", "IBMIMENU", "IBMPROGRAM"];

/// The other variables of RFC 4777 §3, §4 and §8, and TERM, which GNU tn5250 sends.
const ALLOWED: [&str; 25] = [
    "ACCT",
    "CHARSET",
    "CODEPAGE",
    "DEVNAME",
    "DISPLAY",
    "IBMASCII899",
    "IBMASSOCPRT",
    "IBMENVELOPE",
    "IBMFONT",
    "IBMFORMFEED",
    "IBMIGCFEAT",
    "IBMMFRTYPMDL",
    "IBMMSGQLIB",
    "IBMMSGQNAME",
    "IBMPPRSRC1",
    "IBMPPRSRC2",
    "IBMSENDCONFREC",
    "IBMTRANSFORM",
    "IBMWSCSTLIB",
    "IBMWSCSTNAME",
    "JOB",
    "KBDTYPE",
    "PRINTER",
    "SYSTEMTYPE",
    "TERM",
];

/// Variables with binary values, in which real clients leave the bytes 00 to 03 unescaped.
const BINARY: [&str; 6] = ["IBMRSEED", "IBMSUBSPW", "IBMTICKET", "IBMENVELOPE", "IBMPPRSRC1", "IBMPPRSRC2"];

/// Who defines a variable (RFC 1572 §2). GNU tn5250 says VAR for all, so this decides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A well-known variable.
    Var,
    /// A variable that the two ends agree on; here IBM's.
    UserVar,
}

/// One variable.
#[derive(Clone, PartialEq, Eq)]
pub struct Variable {
    /// Who defines it.
    pub kind: Kind,
    /// Its name, as sent.
    pub name: Bytes,
    /// Its value, if it is defined; it may be empty.
    pub value: Option<Bytes>,
}

impl Variable {
    /// A variable with a value.
    #[must_use]
    pub fn new(kind: Kind, name: &str, value: &[u8]) -> Self {
        let name = Bytes::copy_from_slice(name.as_bytes());
        Self { kind, name, value: Some(Bytes::copy_from_slice(value)) }
    }

    /// Whether this is its name, in whatever case.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value as text, if it is of printable ASCII characters only. All values of a display session are, but for
    /// those that sign on.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        let value = self.value.as_deref()?;
        core::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| (0x20..=0x7E).contains(&byte)))
    }
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name that nobody defined may well be a value that lost its marker.
        let known = names().find(|name| self.is_named(name)).unwrap_or("?");
        let value = if self.value.is_some() { "set" } else { "not set" };
        f.debug_struct("Variable").field("kind", &self.kind).field("name", &known).field("value", &value).finish()
    }
}

/// The body of a NEW-ENVIRON subnegotiation.
#[derive(Clone, PartialEq, Eq)]
pub enum Environ {
    /// The client's variables, asked for.
    Is(Vec<Variable>),
    /// Variables that changed on the client, unasked.
    Info(Vec<Variable>),
    /// What the host asks for, as it came. IBM i puts its seed behind the name IBMRSEED, raw; it must stay as it is.
    Send(Bytes),
}

impl fmt::Debug for Environ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(variables) => f.debug_tuple("Is").field(variables).finish(),
            Self::Info(variables) => f.debug_tuple("Info").field(variables).finish(),
            Self::Send(_) => f.write_str("Send(..)"),
        }
    }
}

/// Parses the body of a NEW-ENVIRON subnegotiation, IAC doubling undone.
///
/// As RFC 1572 says, and for what real clients send beyond it:
/// * a second VALUE inside a value is data, and so is an ESC in front of anything but 00 to 03;
/// * in values that are binary (the seed, the password substitute, the ticket) 00 and 03 are data unless the name of a
///   variable follows: tn5250j escapes the first of eight zeros only, ibmi-mcp none;
/// * what stands in front of the first VAR or USERVAR is left out.
///
/// # Errors
/// The body is neither IS, SEND nor INFO, or has more than [`VARIABLES_MAX`] variables.
pub fn parse(body: &[u8]) -> Result<Environ, Error> {
    match body {
        [IS, list @ ..] => Ok(Environ::Is(variables(list)?)),
        [INFO, list @ ..] => Ok(Environ::Info(variables(list)?)),
        [SEND, list @ ..] => Ok(Environ::Send(Bytes::copy_from_slice(list))),
        _ => Err(Error::new("neither IS, SEND nor INFO", 0)),
    }
}

fn variables(list: &[u8]) -> Result<Vec<Variable>, Error> {
    let mut found = Vec::new();
    let mut rest = list;
    while let Some((kind, behind)) = rest.split_first() {
        let kind = match *kind {
            VAR => Kind::Var,
            USERVAR => Kind::UserVar,
            _ => {
                rest = behind;
                continue;
            }
        };
        if found.len() >= VARIABLES_MAX {
            return Err(Error::new("too many variables", list.len().saturating_sub(rest.len()).saturating_add(1)));
        }
        let (name, behind) = take_name(behind);
        let (value, behind) = match behind {
            [VALUE, behind @ ..] => {
                let (value, behind) = take_value(behind, is_one_of(&name, &BINARY));
                (Some(value.into()), behind)
            }
            _ => (None, behind),
        };
        found.push(Variable { kind, name: name.into(), value });
        rest = behind;
    }
    Ok(found)
}

/// A name, up to the next marker; whatever ESC stands in front of is part of it, so that no escape hides a name.
fn take_name(mut rest: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut name = Vec::new();
    loop {
        match rest {
            [ESC, byte, behind @ ..] => {
                name.push(*byte);
                rest = behind;
            }
            [] | [VAR | VALUE | USERVAR, ..] => return (name, rest),
            [byte, behind @ ..] => {
                name.push(*byte);
                rest = behind;
            }
        }
    }
}

/// A value, up to the next VAR or USERVAR; up to the next that a name follows if the value is binary.
fn take_value(mut rest: &[u8], is_binary: bool) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    loop {
        match rest {
            [ESC, byte @ VAR..=USERVAR, behind @ ..] => {
                value.push(*byte);
                rest = behind;
            }
            [VAR | USERVAR, behind @ ..] if !is_binary || begins_with_name(behind) => return (value, rest),
            [byte, behind @ ..] => {
                value.push(*byte);
                rest = behind;
            }
            [] => return (value, rest),
        }
    }
}

/// Whether a variable's name could stand here: two or more characters that names are made of, up to a marker or the end.
fn begins_with_name(bytes: &[u8]) -> bool {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'_' | b'-' | b'#' | b'@' | b'$');
    let length = bytes.iter().take(64).take_while(is_part).count();
    length >= 2
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && matches!(bytes.get(length).copied(), None | Some(VAR | VALUE | USERVAR))
}

impl Environ {
    /// The body for [`write_subnegotiation`](crate::telnet::write_subnegotiation), every 00 to 03 in names and values
    /// escaped.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let (verb, variables) = match self {
            Self::Is(variables) => (IS, variables),
            Self::Info(variables) => (INFO, variables),
            Self::Send(list) => return [&[SEND], &list[..]].concat(),
        };
        let mut body = vec![verb];
        for variable in variables {
            body.push(match variable.kind {
                Kind::Var => VAR,
                Kind::UserVar => USERVAR,
            });
            escape_into(&variable.name, &mut body);
            if let Some(value) = &variable.value {
                body.push(VALUE);
                escape_into(value, &mut body);
            }
        }
        body
    }

    /// The variables; none in what the host sends.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        match self {
            Self::Is(variables) | Self::Info(variables) => variables,
            Self::Send(_) => &[],
        }
    }

    /// The variable of this name, in whatever case and of whatever kind; the last one, if a client sends several.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables().iter().rev().find(|variable| variable.is_named(name))
    }

    /// Whether a name occurs twice: what the host would make of that is not known.
    #[must_use]
    pub fn has_repeated(&self, name: &str) -> bool {
        self.variables().iter().filter(|variable| variable.is_named(name)).nth(1).is_some()
    }

    /// Leaves only the variables that `keep` says yes to.
    pub fn retain(&mut self, keep: impl FnMut(&Variable) -> bool) {
        match self {
            Self::Is(variables) | Self::Info(variables) => variables.retain(keep),
            Self::Send(_) => {}
        }
    }
}

fn escape_into(plain: &[u8], body: &mut Vec<u8>) {
    for byte in plain {
        if *byte <= USERVAR {
            body.push(ESC);
        }
        body.push(*byte);
    }
}

/// Whether a variable of this name signs a user on or chooses what runs then. A seed may stand behind its name without
/// a VALUE between them, as in what the host sends.
#[must_use]
pub fn is_sign_on(name: &[u8]) -> bool {
    is_one_of(name, &SIGN_ON) || name.get(..8).is_some_and(|start| is_one_of(start, &["IBMRSEED"]))
}

/// Whether a variable of this name may go to the host before anybody is let in: an allow-list of the standard's
/// variables without those of [`is_sign_on`].
#[must_use]
pub fn is_allowed(name: &[u8]) -> bool {
    is_one_of(name, &ALLOWED)
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

fn names() -> impl Iterator<Item = &'static str> {
    SIGN_ON.into_iter().chain(ALLOWED)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::telnet::{Splitter, Unit, option};
    use crate::traces::streams;

    fn named(kind: Kind, name: &str, value: Option<&[u8]>) -> Variable {
        Variable { value: value.map(Bytes::copy_from_slice), ..Variable::new(kind, name, b"") }
    }

    fn var(name: &str, value: &[u8]) -> Variable {
        Variable::new(Kind::Var, name, value)
    }

    fn user(name: &str, value: &[u8]) -> Variable {
        Variable::new(Kind::UserVar, name, value)
    }

    /// What a client sends, the variables in it, and how they are written: as they came, if nothing else is said.
    #[test]
    fn clients() {
        let plain = |body: &'static [u8], variables: Vec<Variable>| (body, variables, body);
        for (body, variables, written) in [
            plain(b"\0", vec![]),
            // GNU tn5250: all of it VAR.
            plain(
                b"\0\0DEVNAME\x01TESTDEV1\0TERM\x01IBM-3179-2",
                vec![var("DEVNAME", b"TESTDEV1"), var("TERM", b"IBM-3179-2")],
            ),
            plain(
                b"\0\x03KBDTYPE\x01BRB\x03CODEPAGE\x0137\x03CHARSET\x01697",
                vec![user("KBDTYPE", b"BRB"), user("CODEPAGE", b"37"), user("CHARSET", b"697")],
            ),
            // IBM's own: defined and empty.
            plain(
                b"\0\x03IBMRSEED\x01\x03DEVNAME\x01\x03IBMSENDCONFREC\x01YES",
                vec![user("IBMRSEED", b""), user("DEVNAME", b""), user("IBMSENDCONFREC", b"YES")],
            ),
            plain(
                b"\0\x03IBMRSEED\0USER",
                vec![named(Kind::UserVar, "IBMRSEED", None), named(Kind::Var, "USER", None)],
            ),
            // tn5250j: one ESC for eight zeros.
            (
                b"\0\0USER\x01u\x03IBMRSEED\x01\x02\0\0\0\0\0\0\0\0\x03IBMSUBSPW\x01clear\x03IBMCURLIB\x01L",
                vec![user_named_u(), user("IBMRSEED", &[0; 8]), user("IBMSUBSPW", b"clear"), user("IBMCURLIB", b"L")],
                b"\0\0USER\x01u\x03IBMRSEED\x01\x02\0\x02\0\x02\0\x02\0\x02\0\x02\0\x02\0\x02\0\
                  \x03IBMSUBSPW\x01clear\x03IBMCURLIB\x01L",
            ),
            // ts5250: as it should be.
            plain(
                b"\0\x03IBMRSEED\x01\x02\0\x02\0\x02\0\x02\0\x02\0\x02\0\x02\0\x02\0\x03IBMSUBSPW\x01pw",
                vec![user("IBMRSEED", &[0; 8]), user("IBMSUBSPW", b"pw")],
            ),
            // ibmi-mcp: eight raw zeros at the end.
            (
                b"\0\0USER\x01u\x03IBMRSEED\x01\0\0\0\0\0\0\0\0",
                vec![user_named_u(), user("IBMRSEED", &[0; 8])],
                b"\0\0USER\x01u\x03IBMRSEED\x01\x02\0\x02\0\x02\0\x02\0\x02\0\x02\0\x02\0\x02\0",
            ),
            // An unescaped seed and an unescaped password substitute.
            (
                b"\0\x03IBMRSEED\x01a\x03\0b\x01c\x02d\x03ibmsubspw\x01\x03\xFF\0\x00USER\x01u",
                vec![user("IBMRSEED", b"a\x03\0b\x01c\x02d"), user("ibmsubspw", b"\x03\xFF\0"), user_named_u()],
                b"\0\x03IBMRSEED\x01a\x02\x03\x02\0b\x02\x01c\x02\x02d\x03ibmsubspw\x01\x02\x03\xFF\x02\0\0USER\x01u",
            ),
            // RFC 4777 section 9: an escaped binary value, and one with an IAC.
            plain(
                b"\0\x03IBMPPRSRC1\x01\x02\x01\x03IBMENVELOPE\x01\xFF",
                vec![user("IBMPPRSRC1", b"\x01"), user("IBMENVELOPE", b"\xFF")],
            ),
            // What stands in front of the first marker, a second VALUE, an ESC that escapes nothing, one at the end.
            (
                b"\0junk\x01\0DEVNAME\x01a\x01b\x02c\x02",
                vec![var("DEVNAME", b"a\x01b\x02c\x02")],
                b"\0\0DEVNAME\x01a\x02\x01b\x02\x02c\x02\x02",
            ),
            // An ESC in a name hides nothing.
            (b"\0\x03IBM\x02SUBSPW\x01pw", vec![user("IBMSUBSPW", b"pw")], b"\0\x03IBMSUBSPW\x01pw"),
            // A value that would be a variable if it were not escaped stays a value.
            plain(b"\0\x03DEVNAME\x01X\x02\x03IBMSUBSPW\x02\x01pw", vec![user("DEVNAME", b"X\x03IBMSUBSPW\x01pw")]),
        ] {
            let parsed = parse(body).unwrap();
            assert_eq!(parsed.variables(), variables, "{}", body.escape_ascii());
            assert!(matches!(parsed, Environ::Is(_)));
            assert_eq!(parsed.write().escape_ascii().to_string(), written.escape_ascii().to_string());
            assert_eq!(parse(written).unwrap(), parsed, "{}", body.escape_ascii());
        }
    }

    fn user_named_u() -> Variable {
        var("USER", b"u")
    }

    #[test]
    fn what_a_host_sends_stays_as_it_is() {
        for body in [
            &b"\x01\x03IBMRSEED\x7D\xB0\x31\x2E\xDF\x78\x0E\x81\0\x03"[..],
            b"\x01\x03IBMRSEED\0\x01\x02\x03\0\x01\x02\x03\x03IBMSUBSPW\x03\0",
            b"\x01\x03DEVNAME",
            b"\x01",
        ] {
            let parsed = parse(body).unwrap();
            assert_eq!(parsed, Environ::Send(Bytes::copy_from_slice(&body[1..])));
            assert_eq!(parsed.write(), body);
            assert!(parsed.variables().is_empty());
        }
    }

    #[test]
    fn unknown_verbs_and_too_many_variables_are_refused() {
        assert_eq!(parse(b""), Err(Error::new("neither IS, SEND nor INFO", 0)));
        assert_eq!(parse(b"\x03USER"), Err(Error::new("neither IS, SEND nor INFO", 0)));
        let list = [vec![IS], b"\0A".repeat(VARIABLES_MAX)].concat();
        assert_eq!(parse(&list).unwrap().variables().len(), VARIABLES_MAX);
        let offset = list.len();
        assert_eq!(parse(&[&list[..], b"\0B"].concat()), Err(Error::new("too many variables", offset)));
    }

    #[test]
    fn names_count_in_any_case_and_of_any_kind() {
        let mut environ = parse(b"\0\x03user\x01anna\0DEVNAME\x01D\0USER\x01bob\0Codepage\x01\xE9").unwrap();
        assert_eq!(environ.variable("USER").and_then(Variable::text), Some("bob"));
        assert!(environ.has_repeated("User") && !environ.has_repeated("DEVNAME"));
        assert_eq!(environ.variable("CODEPAGE").and_then(Variable::text), None);
        assert_eq!(environ.variable("CHARSET"), None);
        environ.retain(|variable| is_allowed(&variable.name));
        assert_eq!(environ.write(), b"\0\0DEVNAME\x01D\0Codepage\x01\xE9");
        for name in SIGN_ON {
            assert!(is_sign_on(name.as_bytes()) && is_sign_on(name.to_lowercase().as_bytes()), "{name}");
            assert!(!is_allowed(name.as_bytes()), "{name}");
        }
        for name in ALLOWED {
            assert!(is_allowed(name.to_lowercase().as_bytes()) && !is_sign_on(name.as_bytes()), "{name}");
        }
        for name in [&b""[..], b"IBMSUBSPW2", b"LD_PRELOAD", b"IBMSUBSP"] {
            assert!(!is_allowed(name) && !is_sign_on(name), "{}", name.escape_ascii());
        }
        assert!(is_sign_on(b"IBMRSEED\0\0\0\0\0\0\0\0"));
    }

    #[test]
    fn debug_shows_no_value_and_no_unknown_name() {
        let shown = format!("{:?}", parse(b"\0\x03ibmsubspw\x01secret\0hunter2").unwrap());
        assert!(shown.contains("IBMSUBSPW") && !shown.contains("secret") && !shown.contains("hunter2"), "{shown}");
        assert_eq!(format!("{:?}", parse(b"\x01\x03IBMRSEEDsecret").unwrap()), "Send(..)");
    }

    #[test]
    fn recorded_variables_are_written_back_byte_for_byte() {
        for stream in streams() {
            let (mut splitter, mut buffer) = (Splitter::new(), bytes::BytesMut::from(&stream.bytes()[..]));
            while let Some(frame) = splitter.take(&mut buffer).unwrap() {
                if let Unit::Subnegotiation { option: option::NEW_ENVIRON, body } = frame.unit {
                    let environ = parse(&body).unwrap();
                    assert_eq!(environ.write(), body, "{}", stream.name);
                    assert_eq!(matches!(environ, Environ::Send(_)), !stream.is_client, "{}", stream.name);
                }
            }
        }
    }

    fn variable() -> impl Strategy<Value = Variable> {
        let kind = prop_oneof![Just(Kind::Var), Just(Kind::UserVar)];
        let name = prop_oneof![
            proptest::sample::select(&SIGN_ON[..]).prop_map(str::to_owned),
            proptest::sample::select(&ALLOWED[..]).prop_map(str::to_owned),
            "[A-Z][A-Z0-9_]{1,12}",
        ];
        let byte = prop_oneof![0..4_u8, any::<u8>()];
        (kind, name, proptest::option::of(vec(byte, 0..20)))
            .prop_map(|(kind, name, value)| named(kind, &name, value.as_deref()))
    }

    proptest! {
        #[test]
        fn parse_and_write_are_inverse(variables in vec(variable(), 0..12), info: bool) {
            let environ = if info { Environ::Info(variables) } else { Environ::Is(variables) };
            prop_assert_eq!(parse(&environ.write()), Ok(environ));
        }

        #[test]
        fn whatever_is_sent_is_understood_once(list in vec(prop_oneof![3 => 0..4_u8, 2 => b'A'..=b'C', 1 => any::<u8>()], 0..300)) {
            let body = [&[IS], &list[..]].concat();
            if let Ok(environ) = parse(&body) {
                prop_assert!(environ.variables().len() <= VARIABLES_MAX);
                let written = environ.write();
                prop_assert!(written.len() <= 2 * body.len());
                prop_assert_eq!(parse(&written), Ok(environ));
            }
        }
    }
}
