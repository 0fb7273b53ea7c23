//! The client's end of a TN5250 session: telnet negotiation, records, display (RFC 4777, RFC 2877, RFC 1205).
//!
//! ```text
//!   bytes from the host ──▶ Client::receive ──▶ Display::apply
//!   keys ─────────────────▶ Client::press   ──▶ Display::press
//!                           Client::take_output ──▶ bytes for the host, one piece per write
//! ```
//!
//! Pure: no socket, no clock. Invariant: an option is agreed to once; what is not known is refused.

use bytes::{Bytes, BytesMut};
use proxy_tn5250::environ::{self, Environ};
use proxy_tn5250::record::{self, Startup};
use proxy_tn5250::telnet::{self, Frame, Splitter, Unit, Verb, option};

use super::display::Display;
use super::keyboard::{Key, Slip};
use super::options::Options;

/// How often another device name is tried when the host says that one is in use.
const DEVICE_TRIES: u32 = 5;

/// A terminal session.
pub struct Client {
    options: Options,
    display: Display,
    splitter: Splitter,
    inbound: BytesMut,
    output: Vec<Bytes>,
    ours: Agreed,
    theirs: Agreed,
    device_requests: u32,
    startup: Option<Startup>,
}

/// One bit for each option that is agreed upon.
#[derive(Default)]
struct Agreed(u64);

impl Agreed {
    fn set(&mut self, option: u8, on: bool) -> bool {
        let bit = 1u64.checked_shl(u32::from(option)).unwrap_or(0);
        let before = self.0 & bit != 0;
        if on {
            self.0 |= bit
        } else {
            self.0 &= !bit
        }
        before != on
    }
}

impl core::fmt::Debug for Client {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Client").field("display", &self.display).finish_non_exhaustive()
    }
}

impl Client {
    /// A session that has not begun: the host speaks first.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let wide = telnet::is_wide(options.terminal_type.as_bytes());
        Self {
            display: Display::new(options.keyboard.page(), wide),
            options,
            splitter: Splitter::new(),
            inbound: BytesMut::new(),
            output: Vec::new(),
            ours: Agreed::default(),
            theirs: Agreed::default(),
            device_requests: 0,
            startup: None,
        }
    }

    /// What the terminal shows.
    #[must_use]
    pub const fn display(&self) -> &Display {
        &self.display
    }

    /// The start-up record, once the host has sent it.
    #[must_use]
    pub const fn startup(&self) -> Option<&Startup> {
        self.startup.as_ref()
    }

    /// Takes bytes from the host.
    ///
    /// # Errors
    ///
    /// When they are no TN5250 stream: the session is of no use any more.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), proxy_tn5250::Error> {
        self.inbound.extend_from_slice(bytes);
        while let Some(frame) = self.splitter.take(&mut self.inbound)? {
            self.obey(&frame)?;
        }
        Ok(())
    }

    /// Presses a key.
    ///
    /// # Errors
    ///
    /// When the key can do nothing now.
    pub fn press(&mut self, key: &Key) -> Result<(), Slip> {
        if let Some(content) = self.display.press(key)? {
            self.output.push(telnet::write_record(&content));
        }
        Ok(())
    }

    /// What is to be sent to the host, in order; one write each.
    pub fn take_output(&mut self) -> Vec<Bytes> {
        core::mem::take(&mut self.output)
    }

    fn obey(&mut self, frame: &Frame) -> Result<(), proxy_tn5250::Error> {
        match &frame.unit {
            Unit::Record { embedded } => {
                if *embedded {
                    for command in telnet::embedded(&frame.wire) {
                        let mut splitter = Splitter::new();
                        let mut buffer = BytesMut::from(&command[..]);
                        if let Some(inner) = splitter.take(&mut buffer)? {
                            self.command(&inner.unit);
                        }
                    }
                }
                let content = telnet::unescape(&frame.wire);
                let record = record::parse(&content)?;
                if record.is_startup() {
                    self.startup = record::startup(&record);
                } else {
                    for answer in self.display.apply(&record) {
                        self.output.push(telnet::write_record(&answer));
                    }
                }
            }
            unit @ (Unit::Negotiation { .. } | Unit::Subnegotiation { .. } | Unit::Command(_)) => self.command(unit),
        }
        Ok(())
    }

    fn command(&mut self, unit: &Unit) {
        match unit {
            Unit::Negotiation { verb, option } => self.negotiate(*verb, *option),
            Unit::Subnegotiation { option: option::TERMINAL_TYPE, body } if body.first() == Some(&1) => {
                let mut reply = vec![0];
                reply.extend_from_slice(self.options.terminal_type.as_bytes());
                self.output.push(telnet::write_subnegotiation(option::TERMINAL_TYPE, &reply));
            }
            Unit::Subnegotiation { option: option::NEW_ENVIRON, body } => self.send_environ(body),
            Unit::Subnegotiation { .. } | Unit::Command(_) | Unit::Record { .. } => {}
        }
    }

    fn negotiate(&mut self, verb: Verb, option: u8) {
        let (ours, theirs) = match option {
            option::BINARY | option::END_OF_RECORD => (true, true),
            option::TERMINAL_TYPE | option::NEW_ENVIRON => (true, false),
            _ => (false, false),
        };
        let answer = match verb {
            // Asked each time, answered each time (RFC 860).
            Verb::Do if option == option::TIMING_MARK => Some(Verb::Will),
            Verb::Do if ours => self.ours.set(option, true).then_some(Verb::Will),
            Verb::Do => Some(Verb::Wont),
            Verb::Dont => self.ours.set(option, false).then_some(Verb::Wont),
            Verb::Will if theirs => self.theirs.set(option, true).then_some(Verb::Do),
            Verb::Will => Some(Verb::Dont),
            Verb::Wont => self.theirs.set(option, false).then_some(Verb::Dont),
        };
        self.output.extend(answer.map(|verb| telnet::write_negotiation(verb, option)));
    }

    fn send_environ(&mut self, body: &[u8]) {
        let Ok(Environ::Send(wanted)) = environ::parse(body) else { return };
        // The host asks for DEVNAME alone when the device is in use (RFC 4777, section 7); the same name again would end
        // the connection.
        let mut device = self.options.device.clone();
        if wanted.windows(7).any(|name| name == b"DEVNAME") {
            self.device_requests += 1;
            if self.device_requests > DEVICE_TRIES {
                return;
            }
            device = device.map(|name| next_device(&name, self.device_requests));
        }
        let reply = Environ::Is(self.options.environ(device.as_deref())).write();
        self.output.push(telnet::write_subnegotiation(option::NEW_ENVIRON, &reply));
    }
}

/// Another device name: the name with a number at its end, ten characters at most.
fn next_device(name: &str, number: u32) -> String {
    let number = number.to_string();
    let kept: String = name.chars().take(10 - number.len()).collect();
    kept + &number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_stay_within_ten_characters() {
        assert_eq!(next_device("DSP", 1), "DSP1");
        assert_eq!(next_device("ABCDEFGHIJ", 2), "ABCDEFGHI2");
    }

    #[test]
    fn an_option_is_agreed_to_once_and_others_are_refused() {
        let mut client = Client::new(Options::default());
        client.receive(b"\xff\xfd\x19\xff\xfd\x19\xff\xfd\x01\xff\xfd\x06\xff\xfd\x06").unwrap();
        let sent: Vec<u8> = client.take_output().concat();
        assert_eq!(sent, b"\xff\xfb\x19\xff\xfc\x01\xff\xfb\x06\xff\xfb\x06");
    }
}
