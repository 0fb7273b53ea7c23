//! Where data goes: the arguments of PORT and EPRT, the replies 227 and 229.
//!
//! Sources: RFC 959 §4.1.2 and §5.3.2 (PORT, 227), RFC 1123 §4.1.2.6 (227 has no fixed text), RFC 2428 §2 and §3 (EPRT,
//! 229), and the habits of real hosts: 227 without parentheses or with `=`, 229 with another delimiter than `|` (IBM i
//! with CCSID 500 sends `!`) or with the fields filled that should be empty.
//!
//! Invariants: every number is in its range, or nothing is parsed; a reply that is written has the host's text, and other
//! numbers in it; 229 is written with `|` in parentheses, since clients take nothing else.

use core::str;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use memchr::memchr_iter;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while};
use nom::character::complete::{char, digit0, satisfy, space0, u8 as byte, u16 as word, u32 as number};
use nom::combinator::{map_opt, verify};
use nom::error::context;
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};

use crate::error::{Error, Stop, whole};
use crate::order::Family;

/// The lowest port for data: below are services, at which a bounced connection would aim (RFC 2577 §3).
pub const PORT_MIN: u16 = 1024;

/// Whether data may go to this port, whoever named it.
#[must_use]
pub const fn is_data_port(port: u16) -> bool {
    port >= PORT_MIN
}

/// Whether a client may name this place for its data: its own address, as its control connection has it, and a port from
/// [`PORT_MIN`] on. An IPv4 address that stands in an IPv6 address is the same address.
#[must_use]
pub fn is_own(place: SocketAddr, control_peer: IpAddr) -> bool {
    place.ip().to_canonical() == control_peer.to_canonical() && is_data_port(place.port())
}

/// Parses the argument of PORT: `h1,h2,h3,h4,p1,p2`.
///
/// # Errors
/// It is anything but six numbers from 0 to 255.
pub fn parse_port(argument: &[u8]) -> Result<SocketAddrV4, Error> {
    whole(argument, six_numbers)
}

/// The argument of PORT.
#[must_use]
pub fn write_port(place: SocketAddrV4) -> String {
    let [a, b, c, d] = place.ip().octets();
    let [high, low] = place.port().to_be_bytes();
    format!("{a},{b},{c},{d},{high},{low}")
}

/// Parses the argument of EPRT: `|1|address|port|` or `|2|address|port|`, with any delimiter. Nothing is there for a
/// family of addresses that is neither 1, IPv4, nor 2, IPv6: the answer to that is 522.
///
/// # Errors
/// It has another form, or address or port are none.
pub fn parse_extended_port(argument: &[u8]) -> Result<Option<SocketAddr>, Error> {
    whole(argument, extended_port)
}

/// The argument of EPRT.
#[must_use]
pub fn write_extended_port(place: SocketAddr) -> String {
    // As it is written: an IPv4 address that stands in an IPv6 address is read back as what it was.
    let family = if place.is_ipv4() { Family::V4 } else { Family::V6 }.number();
    format!("|{family}|{}|{}|", place.ip(), place.port())
}

/// What a reply 227 says, and the text around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passive<'a> {
    /// Where the host listens, as it says. Behind a NAT, or out of malice, the address may be another's.
    pub place: SocketAddrV4,
    before: &'a [u8],
    behind: &'a [u8],
}

impl<'a> Passive<'a> {
    /// Parses the text of a reply 227, without its code: the first list of numbers in it is the place.
    ///
    /// # Errors
    /// There is no list, or it is not six numbers from 0 to 255.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        let mut last = b' ';
        for (at, first) in text.iter().enumerate() {
            let begins = first.is_ascii_digit() && !last.is_ascii_digit();
            last = *first;
            let Some((before, list)) = text.split_at_checked(at).filter(|(_, list)| begins && is_list(list)) else {
                continue;
            };
            return match six_numbers(list) {
                Ok((behind, place)) if !goes_on(behind) => Ok(Self { place, before, behind }),
                _ => Err(Error::new("not six numbers from 0 to 255", at)),
            };
        }
        Err(Error::new("no address in the reply", text.len()))
    }

    /// The text with another place in it.
    #[must_use]
    pub fn write(&self, place: SocketAddrV4) -> Vec<u8> {
        [self.before, write_port(place).as_bytes(), self.behind].concat()
    }
}

/// What a reply 229 says, and the text around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtendedPassive<'a> {
    /// The port at which the host listens; the address is that of the control connection, whatever the reply says.
    pub port: u16,
    before: &'a [u8],
    behind: &'a [u8],
}

impl<'a> ExtendedPassive<'a> {
    /// Parses the text of a reply 229, without its code: `(|||port|)`, with any delimiter, with or without family and
    /// address; and without parentheses, if the delimiter is punctuation and stands there three times in a row. Of that
    /// form the text is not kept, since no client looks for the port outside of parentheses.
    ///
    /// # Errors
    /// There is no such thing in it.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        let behind_parenthesis = memchr_iter(b'(', text).filter_map(|at| text.split_at_checked(at.saturating_add(1)));
        let anywhere = (0..text.len()).filter_map(|at| text.get(at..));
        let kept = behind_parenthesis
            .map(|(before, rest)| any_fields(rest).map(|(behind, port)| Self { port, before, behind }));
        let ours =
            anywhere.map(|rest| empty_fields(rest).map(|(_, port)| Self { port, before: BEFORE, behind: BEHIND }));
        kept.chain(ours).find_map(Result::ok).ok_or(Error::new("no port in the reply", text.len()))
    }

    /// The text with another port in it, `|` as the delimiter, and no family and address.
    #[must_use]
    pub fn write(&self, port: u16) -> Vec<u8> {
        [self.before, write_extended_passive(port).as_bytes(), self.behind].concat()
    }
}

/// The text of a reply 229 of ours, up to its fields.
const BEFORE: &[u8] = b"Entering Extended Passive Mode (";
/// What stands behind them.
const BEHIND: &[u8] = b").";

/// What stands between the parentheses of a reply 229.
#[must_use]
pub fn write_extended_passive(port: u16) -> String {
    format!("|||{port}|")
}

/// What a parser here makes of bytes: the rest of them, and a value.
type Parsed<'a, T> = IResult<&'a [u8], T, Stop>;

fn six_numbers(input: &[u8]) -> Parsed<'_, SocketAddrV4> {
    let what = "not six numbers from 0 to 255";
    let next = || context(what, preceded((char(','), space0), byte));
    let numbers = (context(what, byte), next(), next(), next(), next(), next());
    numbers
        .map(|(a, b, c, d, high, low)| SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
        .parse(input)
}

/// Whether a number and a comma and another number stand here.
fn is_list(input: &[u8]) -> bool {
    let number = || take_while::<_, _, Stop>(|byte: u8| byte.is_ascii_digit());
    let digit = satisfy(|character| character.is_ascii_digit());
    (number(), char(','), space0, digit).parse(input).is_ok()
}

/// Whether a list or its last number goes on.
fn goes_on(behind: &[u8]) -> bool {
    matches!(behind, [b'0'..=b'9', ..] | [b',', b'0'..=b'9', ..])
}

fn extended_port(input: &[u8]) -> Parsed<'_, Option<SocketAddr>> {
    let (rest, mark) = context("no delimiter", delimiter).parse(input)?;
    let (rest, family) = context("no family", terminated(number, char(mark))).parse(rest)?;
    let field = || terminated(take_while(move |byte| char::from(byte) != mark), char(mark));
    let (rest, address) = match family {
        1 => context("no IPv4 address", map_opt(field(), ip::<Ipv4Addr>)).map(Some).parse(rest)?,
        2 => context("no IPv6 address", map_opt(field(), ip::<Ipv6Addr>)).map(Some).parse(rest)?,
        _ => context("no address", field()).map(|_| None).parse(rest)?,
    };
    let (rest, port) = context("no port", terminated(word, char(mark))).parse(rest)?;
    Ok((rest, address.map(|address| SocketAddr::new(address, port))))
}

fn ip<A: str::FromStr + Into<IpAddr>>(text: &[u8]) -> Option<IpAddr> {
    Some(str::from_utf8(text).ok()?.parse::<A>().ok()?.into())
}

/// Any of 33 to 126 (RFC 2428 §2) but a digit, which could not be told from a number.
fn delimiter(input: &[u8]) -> Parsed<'_, char> {
    satisfy(|character| character.is_ascii_graphic() && !character.is_ascii_digit()).parse(input)
}

/// The fields of a reply 229 behind a parenthesis.
fn any_fields(input: &[u8]) -> Parsed<'_, u16> {
    let (rest, mark) = delimiter(input)?;
    let address = take_while(|byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':'));
    let (rest, _) = alt((
        (digit0, char(mark), address, char(mark)).map(|_| ()),
        // The delimiter is one that addresses have in them.
        (char(mark), char(mark)).map(|_| ()),
    ))
    .parse(rest)?;
    terminated(word, char(mark)).parse(rest)
}

/// The fields of a reply 229 without parentheses.
fn empty_fields(input: &[u8]) -> Parsed<'_, u16> {
    let (rest, mark) = verify(delimiter, char::is_ascii_punctuation).parse(input)?;
    let mut mark_text = [0; 4];
    let mark_text = &*mark.encode_utf8(&mut mark_text);
    let (rest, _) = (tag(mark_text), tag(mark_text)).parse(rest)?;
    terminated(word, tag(mark_text)).parse(rest)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn v4(text: &str) -> SocketAddrV4 {
        text.parse().unwrap()
    }

    #[test]
    fn ports() {
        for (argument, place) in [
            ("10,20,144,151,62,141", "10.20.144.151:16013"),
            ("0,0,0,0,0,0", "0.0.0.0:0"),
            ("255,255,255,255,255,255", "255.255.255.255:65535"),
        ] {
            assert_eq!(parse_port(argument.as_bytes()), Ok(v4(place)));
            assert_eq!(write_port(v4(place)), argument);
        }
        assert_eq!(parse_port(b"010,0,0,001, 4,1"), Ok(v4("10.0.0.1:1025")));
        for argument in [
            "",
            "1,2,3,4,5",
            "1,2,3,4,5,6,7",
            "1,2,3,4,5,256",
            "256,2,3,4,5,6",
            "-1,2,3,4,5,6",
            "1.2.3.4,5,6",
            "(1,2,3,4,5,6)",
            "1,2,3,4,5,",
        ] {
            assert!(parse_port(argument.as_bytes()).is_err(), "{argument}");
        }
    }

    #[test]
    fn extended_ports() {
        for (argument, place) in [
            ("|1|132.235.1.2|6275|", "132.235.1.2:6275"),
            ("|2|1080::8:800:200c:417a|5282|", "[1080::8:800:200c:417a]:5282"),
        ] {
            let place: SocketAddr = place.parse().unwrap();
            for delimiter in ["|", "!", "/", "~", "g"] {
                let argument = argument.replace('|', delimiter);
                assert_eq!(parse_extended_port(argument.as_bytes()), Ok(Some(place)), "{argument}");
            }
            assert_eq!(write_extended_port(place), argument);
        }
        assert_eq!(parse_extended_port(b"|3|anything|1|"), Ok(None));
        for argument in [
            "",
            "|",
            "||||",
            "|1|::1|1025|",
            "|2|10.0.0.1|1025|",
            "|1|10.0.0.1|65536|",
            "|1|10.0.0.1|-1|",
            "|1|10.0.0.1|1025",
            "|1|10.0.0.1|1025||",
            "|1|10.0.0|1025|",
            "|2|fe80::1%eth0|1025|",
            "|1|10.0.0.1!1025|",
            "1110.0.0.1110251",
            " 1 10.0.0.1 1025 ",
            ".1.10.0.0.1.1025.",
            "|1|10.0.0.1||",
        ] {
            assert!(parse_extended_port(argument.as_bytes()).is_err(), "{argument}");
        }
    }

    #[test]
    fn a_client_names_itself_or_nobody() {
        let peer: IpAddr = "192.0.2.7".parse().unwrap();
        for (place, expected) in [
            ("192.0.2.7:1024", true),
            ("192.0.2.7:65535", true),
            ("[::ffff:192.0.2.7]:1024", true),
            ("192.0.2.7:1023", false),
            ("192.0.2.7:25", false),
            ("192.0.2.7:0", false),
            ("192.0.2.8:1024", false),
            ("127.0.0.1:1024", false),
            ("0.0.0.0:1024", false),
            ("[::1]:1024", false),
        ] {
            assert_eq!(is_own(place.parse().unwrap(), peer), expected, "{place}");
        }
        assert!(is_own("192.0.2.7:1024".parse().unwrap(), "::ffff:192.0.2.7".parse().unwrap()));
        assert!(is_data_port(PORT_MIN) && !is_data_port(PORT_MIN - 1));
    }

    #[test]
    fn passive_replies() {
        for (text, written) in [
            ("Entering Passive Mode (10,20,144,151,62,141).", "Entering Passive Mode (192,0,2,1,4,1)."),
            ("ENTERING PASSIVE MODE (10,20,144,151,62,141).", "ENTERING PASSIVE MODE (192,0,2,1,4,1)."),
            ("Entering Passive Mode 10,20,144,151,62,141", "Entering Passive Mode 192,0,2,1,4,1"),
            ("=10,20,144,151,62,141", "=192,0,2,1,4,1"),
            ("Passive mode 2 on (10, 20, 144, 151, 62, 141)", "Passive mode 2 on (192,0,2,1,4,1)"),
            ("10,20,144,151,62,141, or so", "192,0,2,1,4,1, or so"),
            ("010,020,144,151,062,141", "192,0,2,1,4,1"),
        ] {
            let passive = Passive::parse(text.as_bytes()).unwrap();
            assert_eq!(passive.place, v4("10.20.144.151:16013"), "{text}");
            assert_eq!(passive.write(v4("192.0.2.1:1025")), written.as_bytes());
        }
        for (text, error) in [
            ("", Error::new("no address in the reply", 0)),
            ("Entering Passive Mode", Error::new("no address in the reply", 21)),
            ("Mode (10,20,144,151,62)", Error::new("not six numbers from 0 to 255", 6)),
            ("Mode (1000,10,20,144,151,62,141)", Error::new("not six numbers from 0 to 255", 6)),
            ("Mode (10,20,144,151,62,256)", Error::new("not six numbers from 0 to 255", 6)),
            ("Mode (10,20,144,151,62,141,1)", Error::new("not six numbers from 0 to 255", 6)),
            ("Mode (10,20,144,151,62,0001410)", Error::new("not six numbers from 0 to 255", 6)),
        ] {
            assert_eq!(Passive::parse(text.as_bytes()), Err(error), "{text}");
        }
    }

    #[test]
    fn extended_passive_replies() {
        for (text, written) in [
            ("Entering Extended Passive Mode (|||46934|).", "Entering Extended Passive Mode (|||1025|)."),
            ("Entering Extended Passive Mode (!!!46934!)", "Entering Extended Passive Mode (|||1025|)"),
            ("Mode (:::46934:)", "Mode (|||1025|)"),
            ("Mode (aaa46934a)", "Mode (|||1025|)"),
            ("Mode (|1|10.0.0.1|46934|)", "Mode (|||1025|)"),
            ("Mode (!2!fe80::1!46934!)", "Mode (|||1025|)"),
            ("Mode (no address) (|||46934|)", "Mode (no address) (|||1025|)"),
            ("Mode |||46934|", "Entering Extended Passive Mode (|||1025|)."),
            ("Mode ...46934..", "Entering Extended Passive Mode (|||1025|)."),
            ("|||4===46934=", "Entering Extended Passive Mode (|||1025|)."),
        ] {
            let passive = ExtendedPassive::parse(text.as_bytes()).expect(text);
            assert_eq!(passive.port, 46934, "{text}");
            assert_eq!(String::from_utf8(passive.write(1025)).unwrap(), written);
        }
        for text in [
            "",
            "(",
            "()",
            "(|||)",
            "(||||)",
            "(|||65536|)",
            "(|||-1|)",
            "(|||46934)",
            "(||46934|)",
            "(|||46934!)",
            "(111469341)",
            "(|x|y|46934|)",
            "   46934 ",
        ] {
            assert_eq!(
                ExtendedPassive::parse(text.as_bytes()),
                Err(Error::new("no port in the reply", text.len())),
                "{text}"
            );
        }
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![vec(any::<u8>(), 0..60), "[a-z(=]{0,3}[0-9,|! .)(]{0,30}".prop_map(String::into_bytes)]
    }

    fn place() -> impl Strategy<Value = SocketAddr> {
        let address = prop_oneof![
            any::<[u8; 4]>().prop_map(|bytes| IpAddr::from(Ipv4Addr::from(bytes))),
            any::<[u16; 8]>().prop_map(|words| IpAddr::from(Ipv6Addr::from(words))),
        ];
        (address, any::<u16>()).prop_map(SocketAddr::from)
    }

    proptest! {
        #[test]
        fn places_survive(place in place(), before in "[a-zA-Z (=]{0,10}", behind in "[a-zA-Z).]{0,10}") {
            prop_assert_eq!(parse_extended_port(write_extended_port(place).as_bytes()), Ok(Some(place)));
            let text = format!("{before}({}){behind}", write_extended_passive(place.port()));
            let passive = ExtendedPassive::parse(text.as_bytes()).unwrap();
            prop_assert_eq!((passive.port, passive.write(place.port())), (place.port(), text.into_bytes()));
            if let SocketAddr::V4(place) = place {
                prop_assert_eq!(parse_port(write_port(place).as_bytes()), Ok(place));
                let text = format!("{before}{}{behind}", write_port(place));
                let passive = Passive::parse(text.as_bytes()).unwrap();
                prop_assert_eq!((passive.place, passive.write(place)), (place, text.into_bytes()));
            }
        }

        #[test]
        fn what_is_written_is_read_again(text in text(), to in any::<([u8; 4], u16)>()) {
            let place = SocketAddrV4::new(to.0.into(), to.1);
            let _ = (parse_port(&text), parse_extended_port(&text));
            if let Ok(passive) = Passive::parse(&text) {
                let written = passive.write(place);
                prop_assert_eq!(Passive::parse(&written).map(|again| again.place), Ok(place));
            }
            if let Ok(passive) = ExtendedPassive::parse(&text) {
                let written = passive.write(place.port());
                prop_assert_eq!(ExtendedPassive::parse(&written).map(|again| again.port), Ok(place.port()));
            }
        }
    }
}
