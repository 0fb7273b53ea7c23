//! The gate's end of the host's control connection: how far it has come, and the replies on it.
//!
//! Invariant: a reply counts only if nothing of it was there before the command that it answers was sent, so a host that speaks
//! ahead of time answers nothing.

use core::fmt;
use std::net::{IpAddr, Ipv4Addr};

use bytes::{Bytes, BytesMut};

use super::{Action, Close, Gate, HostTls, Side, State, Step, words};
use crate::command::{Command, Mechanism};
use crate::error::Error;
use crate::line::{Line, REPLY_LINE_MAX, Splitter};
use crate::reply::{Code, Reader};

/// The most bytes of a reply that are kept, where all of it must be known before any of it goes on.
pub(super) const KEPT_MAX: usize = 64 * 1024;

/// How much of a reply that passes is collected, to be sent in one write.
const PIECE: usize = 16 * 1024;

/// How far a connection to the host has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// There is none.
    Down,
    /// It was ordered.
    Dialing,
    /// A handshake is under way. `greeted`: it comes from AUTH, not from the start.
    Handshake { greeted: bool },
    /// 220 is awaited.
    Greeting,
    /// 220 came.
    Greeted,
    /// The reply to AUTH is awaited.
    Auth,
    /// It is under TLS, by AUTH.
    Secured,
}

impl Link {
    /// Whether the host reads commands.
    pub(super) const fn is_up(self) -> bool {
        matches!(self, Self::Greeted | Self::Secured)
    }
}

/// A whole reply of the host's.
pub(super) struct Said {
    pub(super) code: Code,
    /// The text of its last line.
    pub(super) text: Bytes,
    /// All of it, or what was not passed on yet, for the client.
    pub(super) wire: Bytes,
}

/// The host's bytes.
pub(super) struct HostLines {
    pub(super) link: Link,
    /// Where it is, as the control connection has it.
    pub(super) address: IpAddr,
    buffer: BytesMut,
    splitter: Splitter,
    reader: Reader,
    /// So many bytes at the front of the buffer were there before the last command.
    stale: usize,
    /// The reply that is being read answers nothing.
    dropping: bool,
    /// What of the reply is not passed on yet.
    wire: BytesMut,
}

impl fmt::Debug for HostLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostLines").field("link", &self.link).field("kept", &self.kept()).finish_non_exhaustive()
    }
}

impl HostLines {
    pub(super) fn new() -> Self {
        Self {
            link: Link::Down,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            buffer: BytesMut::new(),
            splitter: Splitter::host(),
            reader: Reader::new(),
            stale: 0,
            dropping: false,
            wire: BytesMut::new(),
        }
    }

    /// Forgets the connection.
    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }

    pub(super) fn kept(&self) -> usize {
        self.buffer.len().saturating_add(self.wire.len())
    }

    /// A command goes to the host now, and nothing else is owed: whatever is there is no reply to it.
    fn mark(&mut self) {
        self.stale = self.buffer.len();
        self.dropping = true;
    }
}

impl Gate {
    /// Sends a command to which the next reply is the answer.
    pub(super) fn command(&mut self, command: &Command, step: &mut Step) {
        self.host.mark();
        step.out.push(Action::ToHost(command.write()));
    }

    /// Sends a command while the host still owes replies to others.
    pub(super) fn command_ahead(command: &Command, step: &mut Step) {
        step.out.push(Action::ToHost(command.write()));
    }

    pub(super) fn host_connected(&mut self, address: IpAddr, step: &mut Step) -> Result<(), Close> {
        if self.host.link != Link::Dialing {
            return Err(Close::Fault("a host that nobody called"));
        }
        self.host.address = address.to_canonical();
        if self.settings.host_tls == HostTls::Implicit {
            self.host.link = Link::Handshake { greeted: false };
            step.out.push(Action::StartTls(Side::Host));
        } else {
            self.host.link = Link::Greeting;
        }
        Ok(())
    }

    pub(super) fn host_secured(&mut self, step: &mut Step) -> Result<(), Close> {
        match self.host.link {
            Link::Handshake { greeted: false } => {
                self.host.link = Link::Greeting;
                Ok(())
            }
            Link::Handshake { greeted: true } => {
                self.host.link = Link::Secured;
                self.with(step, |gate, state, step| match state {
                    State::Checking(logon) => Ok(State::Checking(gate.name_user(logon, step))),
                    State::Opening(logon) => Ok(State::Opening(gate.name_user(logon, step))),
                    State::New
                    | State::Securing { .. }
                    | State::Greeting { .. }
                    | State::Idle
                    | State::Consulting { .. }
                    | State::Held { .. }
                    | State::Prompting { .. }
                    | State::Rejecting { .. }
                    | State::Open(_)
                    | State::Closed => Err(Close::Fault("TLS at the host without a logon")),
                })
            }
            // It was given up in the meantime.
            Link::Down | Link::Dialing | Link::Greeting | Link::Greeted | Link::Auth | Link::Secured => Ok(()),
        }
    }

    /// Asks for TLS, where that is to be. `true`: there is nothing to ask for.
    pub(super) fn is_host_ready(&mut self, step: &mut Step) -> bool {
        if self.settings.host_tls == HostTls::Explicit && self.host.link == Link::Greeted {
            self.host.link = Link::Auth;
            self.command(&Command::Auth(Mechanism::Tls), step);
        }
        match self.host.link {
            Link::Greeted => self.settings.host_tls != HostTls::Explicit,
            Link::Secured => true,
            Link::Down | Link::Dialing | Link::Handshake { .. } | Link::Greeting | Link::Auth => false,
        }
    }

    pub(super) fn read_host(&mut self, bytes: &[u8], step: &mut Step) -> Result<(), Close> {
        match self.host.link {
            // What was still on its way when we hung up.
            Link::Down | Link::Dialing => return Ok(()),
            Link::Handshake { .. } => return Err(Close::Fault("plain bytes of the host during its handshake")),
            Link::Greeting | Link::Greeted | Link::Auth | Link::Secured => {}
        }
        self.host.buffer.extend_from_slice(bytes);
        loop {
            let before = self.host.buffer.len();
            let line = self.host.splitter.take(&mut self.host.buffer);
            let taken = before.saturating_sub(self.host.buffer.len());
            let is_stale = self.host.stale > 0;
            self.host.stale = self.host.stale.saturating_sub(taken);
            let line = match line.map_err(|error| Close::Malformed(Side::Host, error))? {
                None => return Ok(()),
                Some(Line::Whole(line)) => line,
                Some(Line::TooLong) => {
                    return Err(Close::Malformed(Side::Host, Error::new("reply line over the limit", REPLY_LINE_MAX)));
                }
            };
            self.host_line(&line, is_stale, step)?;
            if matches!(self.host.link, Link::Down | Link::Dialing) || matches!(self.state, State::Closed) {
                return Ok(());
            }
        }
    }

    fn host_line(&mut self, line: &[u8], is_stale: bool, step: &mut Step) -> Result<(), Close> {
        let is_first = !self.host.reader.is_open();
        let parsed = self.host.reader.parse(line).map_err(|error| Close::Malformed(Side::Host, error))?;
        // Not the start of a reply: the next line may be.
        let Some(part) = parsed else { return Ok(()) };
        if is_first {
            self.host.dropping = part.code != Code::UNAVAILABLE && (is_stale || !self.owes());
            if self.host.dropping
                && let State::Open(session) = &mut self.state
            {
                session.dropped(part.code);
            }
        }
        if self.host.dropping {
            return Ok(());
        }
        self.host.wire.extend_from_slice(&part.write());
        if part.is_end() {
            let said = Said {
                code: part.code,
                text: Bytes::copy_from_slice(part.text),
                wire: core::mem::take(&mut self.host.wire).freeze(),
            };
            return self.host_reply(said, step);
        }
        if self.passes() {
            if self.host.wire.len() > PIECE {
                step.say(core::mem::take(&mut self.host.wire).freeze());
            }
        } else if self.host.wire.len() > KEPT_MAX {
            return Err(Close::Malformed(Side::Host, Error::new("reply over the limit", KEPT_MAX)));
        }
        Ok(())
    }

    /// Whether the host owes a reply.
    fn owes(&self) -> bool {
        match (&self.host.link, &self.state) {
            (Link::Greeting | Link::Auth, _) => true,
            (Link::Down | Link::Dialing | Link::Handshake { .. }, _) => false,
            (Link::Greeted | Link::Secured, State::Open(session)) => session.owes(),
            (Link::Greeted | Link::Secured, State::Consulting { .. } | State::Checking(_) | State::Opening(_)) => true,
            (
                Link::Greeted | Link::Secured,
                State::New
                | State::Securing { .. }
                | State::Greeting { .. }
                | State::Idle
                | State::Held { .. }
                | State::Prompting { .. }
                | State::Rejecting { .. }
                | State::Closed,
            ) => false,
        }
    }

    /// Whether the reply that is being read goes to the client as it comes.
    fn passes(&self) -> bool {
        matches!(&self.state, State::Open(session) if session.passes())
    }

    fn host_reply(&mut self, said: Said, step: &mut Step) -> Result<(), Close> {
        match self.host.link {
            Link::Greeting => {
                return match said.code {
                    // Most clients give up on 120; 220 follows.
                    Code::READY_SOON => Ok(()),
                    Code::READY => self.host_greeted(&said, step),
                    _ => self.host_gone("no greeting", step),
                };
            }
            Link::Auth => {
                if said.code != Code::SECURITY_ACCEPTED {
                    return self.host_gone("the host refuses AUTH TLS", step);
                }
                if !self.host.buffer.is_empty() {
                    return self.host_gone("bytes behind the reply to AUTH TLS", step);
                }
                self.host.link = Link::Handshake { greeted: true };
                step.out.push(Action::StartTls(Side::Host));
                return Ok(());
            }
            Link::Down | Link::Dialing | Link::Handshake { .. } | Link::Greeted | Link::Secured => {}
        }
        if said.code == Code::UNAVAILABLE && !matches!(self.state, State::Open(_)) {
            return self.host_gone("the host ended the connection", step);
        }
        self.with(step, |gate, state, step| match state {
            State::Consulting { .. } => Ok(gate.consulted(Some(&said), step)),
            State::Checking(logon) => gate.check_reply(logon, &said, step),
            State::Opening(logon) => gate.open_reply(logon, said, step),
            State::Open(session) => gate.session_reply(session, said, step),
            State::New
            | State::Securing { .. }
            | State::Greeting { .. }
            | State::Idle
            | State::Held { .. }
            | State::Prompting { .. }
            | State::Rejecting { .. }
            | State::Closed => Ok(state),
        })
    }

    fn host_greeted(&mut self, said: &Said, step: &mut Step) -> Result<(), Close> {
        self.host.link = Link::Greeted;
        self.with(step, |gate, state, step| match state {
            State::Greeting { .. } => {
                step.say(words::greeting(&gate.settings, Some(&said.wire)));
                Ok(State::Idle)
            }
            State::Checking(logon) => Ok(State::Checking(gate.link_ready(logon, step))),
            State::Opening(logon) => Ok(State::Opening(gate.link_ready(logon, step))),
            State::New
            | State::Securing { .. }
            | State::Idle
            | State::Consulting { .. }
            | State::Held { .. }
            | State::Prompting { .. }
            | State::Rejecting { .. }
            | State::Open(_)
            | State::Closed => Ok(state),
        })
    }
}
