//! Checks of the FTP codec: total, bounded, inverse to its writers, and blind to how the input is cut.

use bytes::BytesMut;
use proxy_ftp::address::{self, ExtendedPassive, Passive};
use proxy_ftp::command::{self, Command};
use proxy_ftp::line::{Line, Side, Splitter};
use proxy_ftp::reply::{self, Code, Place, Reader, Reply};

/// What a splitter makes of `data` that comes in pieces of `size`: the lines, where it gave up, and what it keeps.
fn split(side: Side, line_max: usize, data: &[u8], size: usize) -> (Vec<Line>, Option<proxy_ftp::Error>, usize) {
    let mut splitter = Splitter::new(side, line_max);
    let mut buffer = BytesMut::new();
    let mut lines = Vec::new();
    for piece in data.chunks(size.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            match splitter.take(&mut buffer) {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => break,
                Err(error) => return (lines, Some(error), buffer.len()),
            }
        }
        assert!(buffer.len() <= line_max + 2, "the splitter keeps too much");
        assert!(!buffer.is_empty() || buffer.capacity() == 0, "an emptied buffer keeps memory");
    }
    (lines, None, buffer.len())
}

/// The one line that `wire` is.
fn only_line(wire: &[u8]) -> Vec<u8> {
    match &split(Side::Client, wire.len(), wire, wire.len()) {
        (lines, None, 0) => match &lines[..] {
            [Line::Whole(line)] => line.to_vec(),
            other => panic!("{} lines for one command", other.len()),
        },
        _ => panic!("a command is not ended"),
    }
}

/// The splitter: pieces change nothing; lines have no end in them and are as short as they should be.
pub fn ftp_line(data: &[u8]) {
    let [first, second, data @ ..] = data else { return };
    let side = if first & 1 == 0 { Side::Client } else { Side::Host };
    let line_max = usize::from(first >> 1);
    let size = 1 + usize::from(second % 40);
    let at_once = split(side, line_max, data, data.len());
    assert_eq!(split(side, line_max, data, size), at_once, "pieces of {size} change something");
    for line in at_once.0 {
        let Line::Whole(line) = line else { continue };
        assert!(line.len() < line_max && !line.contains(&b'\n'), "a line is no line");
        match side {
            Side::Client => ftp_command(&line),
            Side::Host => assert!(data.windows(line.len() + 1).any(|part| part.starts_with(&line)), "bytes changed"),
        }
    }
}

/// Commands: what is written is one line and means the same; nothing shows a password.
pub fn ftp_command(data: &[u8]) {
    let Ok(parsed) = command::parse(data) else { return };
    let written = only_line(&parsed.write());
    assert_eq!(command::parse(&written).as_ref(), Ok(&parsed), "what is written means the same");
    assert!(!written.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "a command holds another");
    let shown = format!("{parsed:?}");
    if let Command::Pass(secret) | Command::Acct(secret) = &parsed {
        assert!(shown == "Pass(Hidden(..))" || shown == "Acct(Hidden(..))", "a password is shown");
        assert!(data.ends_with(secret.expose()), "a password is not as it came");
    }
    if let Command::Plain(_, argument) | Command::Unknown(_, argument) = &parsed {
        assert!(data.eq_ignore_ascii_case(&written), "what passes is what came");
        assert!(argument.as_ref().is_none_or(|argument| data.ends_with(argument.as_bytes())));
    }
    ftp_address(data.get(5..).unwrap_or_default());
}

/// Replies: what is written is the same reply, also to a client that takes any code and blank for the end.
pub fn ftp_reply(data: &[u8]) {
    let (mut reader, mut again) = (Reader::new(), Reader::new());
    for line in data.split(|byte| *byte == b'\n') {
        let Ok(Some(part)) = reader.parse(line) else { continue };
        assert_eq!(part.is_end(), !reader.is_open(), "a reply is open until its end");
        let written = part.write();
        let written = written.strip_suffix(b"\r\n").expect("a line has an end");
        let ends = matches!(written, [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ', ..]);
        assert_eq!(ends, part.is_end(), "simple clients lose step");
        // Blanks that writing adds may lead over the limit.
        if let Ok(second) = again.parse(written) {
            let second = second.expect("what is written is a reply");
            assert_eq!((second.code, second.place), (part.code, part.place), "what is written means the same");
            assert!(part.place == Place::Inner || second.text == part.text);
        }
        ftp_address(part.text);
    }
    let reply = Reply::new(Code::READY, &String::from_utf8_lossy(data)).write();
    let mut reader = Reader::new();
    let mut lines = reply.split_inclusive(|byte| *byte == b'\n').peekable();
    for _ in 0..reply::REPLY_LINES_MAX {
        let Some(line) = lines.next() else { break };
        let line = line.strip_suffix(b"\r\n").expect("a line of ours has its end");
        assert!(line.len() + 2 <= reply::OWN_LINE_MAX && line.starts_with(b"220"), "a line of ours is no line");
        assert!(line.iter().all(|byte| *byte >= b' '), "a line of ours controls a terminal");
        let part = reader.parse(line).ok().flatten().expect("a reply of ours is a reply");
        assert_eq!(part.is_end(), lines.peek().is_none(), "a reply of ours ends too early");
    }
}

/// Addresses: what is written is read again, and the text of a reply stays.
pub fn ftp_address(data: &[u8]) {
    if let Ok(place) = address::parse_port(data) {
        assert_eq!(address::parse_port(address::write_port(place).as_bytes()), Ok(place));
    }
    if let Ok(Some(place)) = address::parse_extended_port(data) {
        let written = address::write_extended_port(place);
        assert_eq!(address::parse_extended_port(written.as_bytes()), Ok(Some(place)));
        assert!(!address::is_own(place, place.ip()) || place.port() >= 1024);
    }
    let place = "192.0.2.1:50000".parse().expect("an address");
    if let Ok(passive) = Passive::parse(data) {
        let written = passive.write(place);
        assert_eq!(Passive::parse(&written).map(|again| again.place), Ok(place));
        assert_eq!(Passive::parse(&written).map(|again| again.write(place)), Ok(written));
    }
    if let Ok(passive) = ExtendedPassive::parse(data) {
        let written = passive.write(50_000);
        assert_eq!(ExtendedPassive::parse(&written).map(|again| again.port), Ok(50_000));
        assert_eq!(ExtendedPassive::parse(&written).map(|again| again.write(50_000)), Ok(written));
    }
}
