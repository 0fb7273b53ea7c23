//! The simulated host's end of the wire: negotiation as real hosts do it, records in, records out (RFC 4777, sections 2-7, 10).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proxy_tn5250::environ::{self, Environ, Variable};
use proxy_tn5250::record::{Flags, Opcode, Record, Startup};
use proxy_tn5250::telnet::{self, Frame, Mode, Splitter, Unit, Verb, option};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::host::HostSettings;

/// A terminal that says nothing for so long is given up.
const IDLE_MAX: Duration = Duration::from_secs(3600);

/// The session is over.
#[derive(Debug)]
pub(super) struct Over;

impl From<std::io::Error> for Over {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

impl From<proxy_tn5250::Error> for Over {
    fn from(_: proxy_tn5250::Error) -> Self {
        Self
    }
}

/// What a terminal said about itself.
#[derive(Debug, Default)]
pub(super) struct Terminal {
    pub(super) kind: Vec<u8>,
    environ: Vec<Variable>,
}

impl Terminal {
    /// A variable's text, where it is there and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let found = self.environ.iter().find(|variable| variable.name.eq_ignore_ascii_case(name.as_bytes()))?;
        let text = String::from_utf8_lossy(found.value.as_deref()?).into_owned();
        (!text.is_empty()).then_some(text)
    }

    /// Takes the answer to the wish for variables.
    fn take(&mut self, body: &[u8]) {
        if let Ok(Environ::Is(list) | Environ::Info(list)) = environ::parse(body) {
            self.environ = list;
        }
    }

    /// User and clear-text password of an auto sign-on.
    pub(super) fn credentials(&self) -> Option<(String, String)> {
        let password = self.variable("IBMSUBSPW")?;
        Some((self.variable("USER").unwrap_or_default().to_ascii_uppercase(), password))
    }
}

/// The wire to one terminal.
pub(super) struct Wire<'a, S> {
    stream: S,
    splitter: Splitter,
    inbound: BytesMut,
    settings: &'a HostSettings,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Wire<'a, S> {
    pub(super) fn new(stream: S, settings: &'a HostSettings) -> Self {
        Self { stream, splitter: Splitter::new(), inbound: BytesMut::new(), settings }
    }

    /// Negotiates; the answer is what the terminal is, once it may get records.
    pub(super) async fn negotiate(&mut self, seed: [u8; 8]) -> Result<Terminal, Over> {
        // The host speaks first, both wishes in one segment.
        self.send(&[0xFF, 0xFD, option::NEW_ENVIRON, 0xFF, 0xFD, option::TERMINAL_TYPE]).await?;
        let mut environ: Option<bool> = None;
        let mut kind: Option<bool> = None;
        while environ.is_none() || kind.is_none() {
            let unit = self.next().await?.unit;
            match unit {
                Unit::Negotiation { verb: Verb::Will, option: option::NEW_ENVIRON } => environ = Some(true),
                Unit::Negotiation { verb: Verb::Wont, option: option::NEW_ENVIRON } => environ = Some(false),
                Unit::Negotiation { verb: Verb::Will, option: option::TERMINAL_TYPE } => kind = Some(true),
                Unit::Negotiation { verb: Verb::Wont, option: option::TERMINAL_TYPE } => kind = Some(false),
                Unit::Negotiation { .. } | Unit::Subnegotiation { .. } | Unit::Command(_) | Unit::Record { .. } => {}
            }
        }
        if kind != Some(true) {
            return self.decline().await;
        }
        let mut ask = Vec::new();
        if environ == Some(true) {
            // USERVAR IBMRSEED and the seed, then all VARs, all USERVARs.
            let mut list = vec![0x01, 0x03];
            list.extend_from_slice(b"IBMRSEED");
            list.extend_from_slice(&seed);
            list.extend_from_slice(&[0x00, 0x03]);
            ask.extend_from_slice(&telnet::write_subnegotiation(option::NEW_ENVIRON, &list));
        }
        ask.extend_from_slice(&telnet::write_subnegotiation(option::TERMINAL_TYPE, &[1]));
        self.send(&ask).await?;

        let mut terminal = Terminal::default();
        let mut again = true;
        loop {
            match self.next().await?.unit {
                Unit::Subnegotiation { option: option::NEW_ENVIRON, body } => terminal.take(&body),
                Unit::Subnegotiation { option: option::TERMINAL_TYPE, body } if body.first() == Some(&0) => {
                    terminal.kind = body.slice(1..).to_vec();
                    if telnet::mode_of(&terminal.kind) != Mode::Other {
                        break;
                    }
                    // A second chance to name another type, then another protocol than ours.
                    if !core::mem::take(&mut again) {
                        return self.decline().await;
                    }
                    self.send(&telnet::write_subnegotiation(option::TERMINAL_TYPE, &[1])).await?;
                }
                Unit::Subnegotiation { .. } | Unit::Negotiation { .. } | Unit::Command(_) | Unit::Record { .. } => {}
            }
        }
        self.send(b"\xff\xfd\x19\xff\xfb\x19\xff\xfd\x00\xff\xfb\x00").await?;
        let mut open: Vec<(Verb, u8)> = [Verb::Will, Verb::Do]
            .into_iter()
            .flat_map(|verb| [(verb, option::END_OF_RECORD), (verb, option::BINARY)])
            .collect();
        while !open.is_empty() {
            match self.next().await?.unit {
                Unit::Negotiation { verb: Verb::Wont | Verb::Dont, option: option::END_OF_RECORD | option::BINARY } => {
                    return Err(Over);
                }
                Unit::Negotiation { verb, option } => open.retain(|wanted| *wanted != (verb, option)),
                Unit::Subnegotiation { option: option::NEW_ENVIRON, body } => terminal.take(&body),
                Unit::Subnegotiation { .. } | Unit::Command(_) | Unit::Record { .. } => {}
            }
        }
        Ok(terminal)
    }

    /// Says in plain text that this is no 5250 terminal.
    async fn decline(&mut self) -> Result<Terminal, Over> {
        self.send(b"This simulator speaks to 5250 display terminals only.\r\n").await?;
        self.stream.shutdown().await?;
        Err(Over)
    }

    /// Asks for another device name; the terminal's new answer replaces what it said before.
    pub(super) async fn ask_device(&mut self, terminal: &mut Terminal) -> Result<(), Over> {
        let mut list = vec![0x01, 0x03];
        list.extend_from_slice(b"DEVNAME");
        self.send(&telnet::write_subnegotiation(option::NEW_ENVIRON, &list)).await?;
        loop {
            let unit = self.next().await?.unit;
            if let Unit::Subnegotiation { option: option::NEW_ENVIRON, body } = unit {
                terminal.take(&body);
                return Ok(());
            }
        }
    }

    pub(super) async fn startup(&mut self, code: &str, device: &str) -> Result<(), Over> {
        let startup =
            Startup { code: code.to_owned(), system: self.settings.system.clone(), device: device.to_owned() };
        self.send(&telnet::write_record(&startup.write())).await
    }

    /// Sends a record; one write.
    pub(super) async fn put(&mut self, opcode: Opcode, data: &[u8]) -> Result<(), Over> {
        let record = Record { reserved: 0, flags: Flags(0), flags2: 0, opcode, extra: &[], data };
        self.send(&telnet::write_record(&record.write())).await
    }

    /// The content of the terminal's next record.
    pub(super) async fn take(&mut self) -> Result<Bytes, Over> {
        loop {
            let frame = self.next().await?;
            match frame.unit {
                Unit::Record { .. } => return Ok(Bytes::from(telnet::unescape(&frame.wire).into_owned())),
                Unit::Negotiation { verb: Verb::Do, option: option::TIMING_MARK } => {
                    self.send(&telnet::write_negotiation(Verb::Will, option::TIMING_MARK)).await?;
                }
                Unit::Negotiation { .. } | Unit::Subnegotiation { .. } | Unit::Command(_) => {}
            }
        }
    }

    async fn next(&mut self) -> Result<Frame, Over> {
        let mut idle = Duration::ZERO;
        loop {
            if let Some(frame) = self.splitter.take(&mut self.inbound)? {
                return Ok(frame);
            }
            let wait = self.settings.timing_mark.unwrap_or(IDLE_MAX);
            match tokio::time::timeout(wait, self.stream.read_buf(&mut self.inbound)).await {
                Ok(count) => {
                    if count? == 0 {
                        return Err(Over);
                    }
                }
                Err(_) => {
                    idle += wait;
                    if idle >= IDLE_MAX {
                        return Err(Over);
                    }
                    self.send(&telnet::write_negotiation(Verb::Do, option::TIMING_MARK)).await?;
                }
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Over> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }
}
