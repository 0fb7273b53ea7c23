//! The PROXY protocol, versions 1 and 2: how a balancer tells whose connection it passes on.
//!
//! After "The PROXY protocol, Versions 1 & 2" by Willy Tarreau, 2020/03/05 (haproxy.org, doc/proxy-protocol.txt).
//!
//! ```text
//!   1   PROXY TCP4 192.0.2.7 198.51.100.1 40001 23 CR LF                            at most 107 bytes
//!   2   0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A   version+command  family  length(2)  addresses  further fields
//! ```
//!
//! - Whom to believe is the caller's choice: from a listed balancer the header is required, from others never read.
//! - Nothing behind the header is read, no more than [`HEADER_MAX`] bytes are.
//! - A header that tells no source (`UNKNOWN`, `LOCAL`, other families) is [`Header::Unknown`]: rules that look at the
//!   source cannot be applied to it, so nobody is served under the balancer's own address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nom::branch::alt;
use nom::bytes::complete::{tag, take, take_while1};
use nom::combinator::{all_consuming, map, map_opt, rest, value, verify};
use nom::error::{ErrorKind, ParseError};
use nom::number::complete::{be_u8, be_u16, be_u32, be_u128};
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The most bytes of a header; version 2 would permit more, for fields of which none is of use here.
pub const HEADER_MAX: usize = 4_096;
/// The most bytes of a version 1 header, its CR LF included.
const LINE_MAX: usize = 107;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The length of the part of a version 2 header that is always there.
const FIXED: usize = 16;

/// What a header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The connection is of this client.
    Client(SocketAddr),
    /// The header does not tell, or the balancer connects for itself (a health check).
    Unknown,
}

/// Why no header could be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is none.
    #[error("no valid PROXY header (byte {0})")]
    Malformed(usize),
    /// It is longer than permitted.
    #[error("PROXY header over {HEADER_MAX} bytes")]
    TooLong,
    /// It did not come in time.
    #[error("no PROXY header within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The connection failed.
    #[error("no PROXY header: {0}")]
    Read(io::Error),
}

/// Reads a header off `stream` within `limit`, and nothing behind it.
pub async fn take_header<S: AsyncRead + Unpin>(stream: &mut S, limit: Duration) -> Result<Header, Error> {
    tokio::time::timeout(limit, read(stream)).await.unwrap_or(Err(Error::TimedOut(limit)))
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Header, Error> {
    // Both versions are longer than the signature, so this much can be read without reading too much.
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await.map_err(Error::Read)?;
    if header == SIGNATURE {
        header.resize(FIXED, 0);
        stream.read_exact(&mut header[SIGNATURE.len()..]).await.map_err(Error::Read)?;
        let length = FIXED + usize::from(u16::from_be_bytes([header[14], header[15]]));
        if length > HEADER_MAX {
            return Err(Error::TooLong);
        }
        header.resize(length, 0);
        stream.read_exact(&mut header[FIXED..]).await.map_err(Error::Read)?;
    } else {
        // What is no header at all must not be read on.
        let same = header.iter().zip(b"PROXY ").take_while(|(is, wanted)| is == wanted).count();
        if same < b"PROXY ".len() {
            return Err(Error::Malformed(same));
        }
        while !header.ends_with(b"\r\n") {
            if header.len() == LINE_MAX {
                return Err(Error::Malformed(LINE_MAX));
            }
            header.push(stream.read_u8().await.map_err(Error::Read)?);
        }
    }
    parse(&header)
}

/// Parses one whole header.
pub fn parse(header: &[u8]) -> Result<Header, Error> {
    match all_consuming(alt((version_2, version_1))).parse(header) {
        Ok((_, parsed)) => Ok(parsed),
        Err(nom::Err::Error(Place { left }) | nom::Err::Failure(Place { left })) => {
            Err(Error::Malformed(header.len() - left))
        }
        Err(nom::Err::Incomplete(_)) => Err(Error::Malformed(header.len())),
    }
}

/// How much was left when it went wrong: all that an error keeps of its input.
#[derive(Debug)]
struct Place {
    left: usize,
}

impl ParseError<&[u8]> for Place {
    fn from_error_kind(input: &[u8], _: ErrorKind) -> Self {
        Self { left: input.len() }
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }

    fn or(self, other: Self) -> Self {
        Self { left: self.left.min(other.left) }
    }
}

type Step<'a, T> = IResult<&'a [u8], T, Place>;

/// Section 2.1.
fn version_1(input: &[u8]) -> Step<'_, Header> {
    let tcp4 = preceded(tag("TCP4 "), addresses_1(ip::<Ipv4Addr>));
    let tcp6 = preceded(tag("TCP6 "), addresses_1(ip::<Ipv6Addr>));
    let unknown = value(Header::Unknown, (tag("UNKNOWN"), take_while_not_end));
    preceded(tag("PROXY "), terminated(alt((tcp4, tcp6, unknown)), tag("\r\n"))).parse(input)
}

fn addresses_1<'a>(ip: fn(&'a [u8]) -> Step<'a, IpAddr>) -> impl Parser<&'a [u8], Output = Header, Error = Place> {
    let space = |input| tag(" ").parse(input);
    (ip, space, ip, space, port, space, port)
        .map(|(source, _, _, _, port, _, _)| Header::Client(SocketAddr::new(source.to_canonical(), port)))
}

fn ip<T: std::str::FromStr + Into<IpAddr>>(input: &[u8]) -> Step<'_, IpAddr> {
    map_opt(take_while1(|byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':')), |text: &[u8]| {
        std::str::from_utf8(text).ok()?.parse::<T>().ok().map(Into::into)
    })
    .parse(input)
}

fn port(input: &[u8]) -> Step<'_, u16> {
    map_opt(take_while1(|byte: u8| byte.is_ascii_digit()), |text: &[u8]| {
        let text = std::str::from_utf8(text).ok()?;
        // "Leading zeroes are not permitted".
        if text.len() > 1 && text.starts_with('0') { None } else { text.parse().ok() }
    })
    .parse(input)
}

fn take_while_not_end(input: &[u8]) -> Step<'_, &[u8]> {
    let end = input.iter().position(|byte| *byte == b'\r').unwrap_or(input.len());
    take(end).parse(input)
}

/// Section 2.2.
fn version_2(input: &[u8]) -> Step<'_, Header> {
    let command = map_opt(be_u8, |byte| match byte {
        0x20 => Some(Command::Local),
        0x21 => Some(Command::Proxy),
        _ => None,
    });
    // Upper half: 0 no family, 1 IPv4, 2 IPv6, 3 Unix; lower half: 0 no transport, 1 stream, 2 datagram.
    let family = verify(be_u8, |byte| byte >> 4 <= 3 && byte & 0x0F <= 2);
    let (fields, (command, family)) = preceded(tag(&SIGNATURE[..]), (command, family)).parse(input)?;
    let (fields, _) = verify(be_u16, |length| usize::from(*length) + FIXED == input.len()).parse(fields)?;
    // Behind the addresses may stand further fields (TLV), of which none is of use here.
    match (command, family) {
        (Command::Proxy, 0x11) => {
            terminated(addresses_2(map(be_u32, |ip| Ipv4Addr::from(ip).into())), rest).parse(fields)
        }
        (Command::Proxy, 0x21) => {
            terminated(addresses_2(map(be_u128, |ip| Ipv6Addr::from(ip).into())), rest).parse(fields)
        }
        (Command::Local | Command::Proxy, _) => value(Header::Unknown, rest).parse(fields),
    }
}

enum Command {
    Local,
    Proxy,
}

fn addresses_2<'a, P>(mut ip: P) -> impl Parser<&'a [u8], Output = Header, Error = Place>
where
    P: Parser<&'a [u8], Output = IpAddr, Error = Place>,
{
    move |input| {
        let (input, source) = ip.parse(input)?;
        let (input, _destination) = ip.parse(input)?;
        let (input, (port, _)) = (be_u16, be_u16).parse(input)?;
        Ok((input, Header::Client(SocketAddr::new(source.to_canonical(), port))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// The header, read from a stream that goes on with `rest`; nothing of `rest` may be missing afterwards.
    async fn through(bytes: &[u8]) -> Result<Header, Error> {
        let stream = [bytes, b"rest"].concat();
        let mut reader = stream.as_slice();
        let header = take_header(&mut reader, LIMIT).await?;
        assert_eq!(reader, b"rest");
        assert_eq!(parse(bytes).unwrap(), header);
        Ok(header)
    }

    fn v2(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
        let length = u16::try_from(fields.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, fields].concat()
    }

    fn client(text: &str) -> Header {
        Header::Client(text.parse().unwrap())
    }

    #[tokio::test]
    async fn version_1_as_in_the_specification() {
        for (line, expected) in [
            // Section 2.1: the two examples, and the longest lines it computes (lengths 56, 104, 107).
            ("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", client("192.168.0.1:56324")),
            ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", client("255.255.255.255:65535")),
            (
                "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                client("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
            ),
            ("PROXY UNKNOWN\r\n", Header::Unknown),
            (
                "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                Header::Unknown,
            ),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 23\r\n", client("192.0.2.7:1")),
        ] {
            assert!(line.len() <= LINE_MAX);
            assert_eq!(through(line.as_bytes()).await.unwrap(), expected, "{line}");
        }
    }

    #[tokio::test]
    async fn version_2_as_in_the_specification() {
        let four = [&[192, 0, 2, 7], &[198, 51, 100, 1], &[0x9C, 0x41][..], &[0, 23]].concat();
        assert_eq!(through(&v2(0x21, 0x11, &four)).await.unwrap(), client("192.0.2.7:40001"));
        // PP2_TYPE_NOOP, three bytes, and PP2_TYPE_UNIQUE_ID.
        let fields = [&four[..], &[4, 0, 3, 0, 0, 0, 5, 0, 2, 1, 2]].concat();
        assert_eq!(through(&v2(0x21, 0x11, &fields)).await.unwrap(), client("192.0.2.7:40001"));
        let six: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let fields = [&six.octets()[..], &Ipv6Addr::LOCALHOST.octets(), &[0, 1, 0, 23]].concat();
        assert_eq!(through(&v2(0x21, 0x21, &fields)).await.unwrap(), client("[2001:db8::7]:1"));
        for (command, family, fields) in [
            (0x20, 0x00, &[][..]),
            (0x20, 0x11, &four),
            (0x21, 0x00, &[]),
            (0x21, 0x31, &[0; 216]),
            (0x21, 0x12, &four),
        ] {
            assert_eq!(through(&v2(command, family, fields)).await.unwrap(), Header::Unknown);
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused_and_not_read_on() {
        let four = [0; 12];
        let over = "PROXY UNKNOWN ".to_owned() + &"x".repeat(LINE_MAX);
        for bytes in [
            b"\xFF\xFB\x27\xFF\xFB\x18\xFF\xFB\x19\xFF\xFB\x00".as_slice(),
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n",
            b"PROXY TCP4 192.168.0.1 192.168.0.11 056324 443\r\n",
            b"PROXY TCP4 192.168.0.1 192.168.0.11 70000 443\r\n",
            b"PROXY TCP4 192.168.0.1 192.168.0.011 1 443\r\n",
            b"PROXY TCP4 192.168.0.1  192.168.0.11 1 443\r\n",
            b"PROXY TCP4 ::1 ::1 1 443\r\n",
            b"PROXY TCP6 192.168.0.1 ::1 1 443\r\n",
            b"PROXY UDP4 192.168.0.1 192.168.0.11 1 443\r\n",
            b"PROXY TCP4 192.168.0.1 192.168.0.11 1 443 \r\n",
            b"proxy TCP4 192.168.0.1 192.168.0.11 1 443\r\n",
            over.as_bytes(),
            &v2(0x22, 0x11, &four),
            &v2(0x11, 0x11, &four),
            &v2(0x21, 0x41, &four),
            &v2(0x21, 0x13, &four),
            &v2(0x21, 0x11, &four[1..]),
        ] {
            let error = take_header(&mut [bytes, &[b'x'; 200]].concat().as_slice(), LIMIT).await.unwrap_err();
            assert!(matches!(error, Error::Malformed(_)), "{error} for {}", bytes.escape_ascii());
        }
        let long = v2(0x21, 0x11, &[0; HEADER_MAX]);
        assert!(matches!(take_header(&mut long.as_slice(), LIMIT).await, Err(Error::TooLong)));
        assert!(matches!(take_header(&mut b"PROXY TCP4 1".as_slice(), LIMIT).await, Err(Error::Read(_))));
    }

    #[tokio::test]
    async fn a_silent_balancer_is_not_waited_for() {
        let (mut near, _far) = tokio::io::duplex(64);
        let error = take_header(&mut near, Duration::from_millis(10)).await.unwrap_err();
        assert!(matches!(error, Error::TimedOut(_)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300), fields in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&bytes);
            let _ = parse(&v2(0x21, 0x11, &fields));
            let _ = parse(&[b"PROXY ", &bytes[..]].concat());
        }
    }
}
