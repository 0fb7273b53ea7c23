//! Data connections and transfers: PASV, EPSV, PORT, EPRT in any mix of the client's and the host's, and what the client
//! is told of how a transfer ended.
//!
//! Invariants: the host hears of no address but ours, and the client of none but ours; 226 reaches the client only when all
//! data is delivered; a transfer that was cut is told as 426, whatever the host says.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;

use super::host::Said;
use super::session::{Session, Work};
use super::settings::{ClientData, HostMode, Limits};
use super::{Close, DataEvent, DataOrder, Family, Gate, Meet, Side, State, Step, words};
use crate::address::{self, ExtendedPassive, Passive};
use crate::command::{Command, Extended, Verb};
use crate::reply::{Class, Code, Reply};

/// Where the data connections stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    /// There are none.
    None,
    /// They were ordered.
    Opening,
    /// A transfer can begin.
    Ready,
    /// Bytes go.
    Running,
    /// They are gone; whether all was delivered.
    Over { clean: bool },
}

/// What the client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// PASV or EPSV: it connects to us.
    Passive { extended: bool },
    /// PORT or EPRT: we connect to it.
    Active { place: SocketAddr, extended: bool },
}

/// Where the making of data connections stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// PASV or EPSV is with the host.
    Asked,
    /// We connect to the host, which said this.
    Connecting { text: Bytes },
    /// We make a place for the host to connect to.
    Listening,
    /// PORT or EPRT with that place is with the host.
    Told { client: Option<SocketAddr>, host: SocketAddr },
}

/// Data connections in the making.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    want: Want,
    stage: Stage,
    /// The host is spoken to in EPSV or EPRT.
    extended: bool,
    /// The other form was tried before.
    tried_other: bool,
}

impl Setup {
    pub(super) const fn owes(&self) -> bool {
        matches!(self.stage, Stage::Asked | Stage::Told { .. })
    }
}

/// A transfer.
#[derive(Debug)]
pub(super) struct Transfer {
    to: Side,
    /// The host said that it begins.
    begun: bool,
    /// The host's last word, which waits until the data is delivered.
    last: Option<Bytes>,
    /// Commands that were sent during it and are not answered.
    ahead: VecDeque<Verb>,
    /// The client said ABOR.
    aborted: bool,
    /// Until when the host may say how a transfer ended whose data was cut.
    patience: Option<Instant>,
}

impl Transfer {
    /// Whether the host owes a reply.
    pub(super) fn owes(&self) -> bool {
        self.last.is_none() || !self.ahead.is_empty()
    }

    /// Whether the host has said nothing of it yet.
    pub(super) const fn is_waiting(&self) -> bool {
        !self.begun && self.last.is_none()
    }

    pub(super) fn ahead(&self) -> usize {
        self.ahead.len()
    }

    /// Whether only the delivery is awaited.
    pub(super) const fn is_delivering(&self) -> bool {
        self.last.is_some()
    }

    pub(super) fn deadline(&self, data: Data, limits: &Limits, step: &Step) -> Option<Instant> {
        match data {
            _ if self.patience.is_some() => self.patience,
            // The data connections have time limits of their own.
            Data::Running => None,
            Data::None | Data::Opening | Data::Ready | Data::Over { .. } => Some(step.soon(limits.command)),
        }
    }
}

/// Whether a reply during a transfer answers a command that was sent ahead of its end (STAT, NOOP, or an ABOR that the host does
/// not know), not the transfer.
const fn is_ahead(code: Code) -> bool {
    matches!(code.number(), 200 | 202 | 211..=215 | 257 | 500..=504 | 530)
}

impl Gate {
    fn own_family(&self) -> Family {
        Family::of(self.peer)
    }

    /// 522 and the family that there is.
    pub(super) fn other_family(&self) -> Bytes {
        let text = match self.own_family() {
            Family::V4 => "Network protocol not offered, use (1).",
            Family::V6 => "Network protocol not offered, use (2).",
        };
        Reply::new(Code::FAMILY_NOT_OFFERED, text).write()
    }

    pub(super) fn extended_passive(
        &mut self,
        mut session: Box<Session>,
        extended: &Extended,
        step: &mut Step,
    ) -> State {
        let family = match extended {
            Extended::Any => self.own_family(),
            Extended::Family(family) => *family,
            Extended::Other(_) => {
                step.say(self.other_family());
                return State::Open(session);
            }
            Extended::All => {
                session.extended_only = true;
                step.reply(Code::OK, "EPSV only from now on.");
                return State::Open(session);
            }
        };
        if family != self.own_family() {
            step.say(self.other_family());
            return State::Open(session);
        }
        self.setup(session, Want::Passive { extended: true }, step)
    }

    /// Makes data connections for the next transfer.
    pub(super) fn setup(&mut self, mut session: Box<Session>, want: Want, step: &mut Step) -> State {
        if session.extended_only && want != (Want::Passive { extended: true }) {
            step.reply(Code::WRONG_ARGUMENT, "Not after EPSV ALL.");
            return State::Open(session);
        }
        let (is_passive, extended) = match want {
            Want::Passive { extended: false } if self.own_family() == Family::V6 => {
                step.reply(Code::FAMILY_NOT_OFFERED, "PASV is for IPv4, use EPSV.");
                return State::Open(session);
            }
            Want::Passive { extended } => (true, extended),
            Want::Active { place, extended } => {
                if Family::of(place.ip()) != self.own_family() {
                    step.say(self.other_family());
                    return State::Open(session);
                }
                if !address::is_own(place, self.peer) {
                    self.suspect("a data address that is not the client's", step);
                    step.reply(Code::WRONG_ARGUMENT, "Data goes to your own address, port 1024 or above.");
                    return State::Open(session);
                }
                (false, extended)
            }
        };
        session.drop_data(step);
        let host_passive = match self.settings.host_mode {
            HostMode::Same => is_passive,
            HostMode::Passive => true,
            HostMode::Active => false,
        };
        let extended = extended || self.host_family() == Family::V6;
        let mut setup = Setup { want, stage: Stage::Asked, extended, tried_other: false };
        if host_passive {
            self.ask_for_place(&setup, step);
        } else {
            setup.stage = Stage::Listening;
            session.data = Data::Opening;
            step.order(DataOrder::Open { client: self.meet(want), host: Meet::Listen(self.host_family()) });
        }
        session.work = Work::Setup(setup);
        State::Open(session)
    }

    fn host_family(&self) -> Family {
        Family::of(self.host.address)
    }

    fn meet(&self, want: Want) -> Meet {
        match want {
            Want::Passive { .. } => Meet::Listen(self.own_family()),
            Want::Active { place, .. } => Meet::Connect(place),
        }
    }

    fn ask_for_place(&mut self, setup: &Setup, step: &mut Step) {
        let command = if setup.extended { Command::Epsv(Extended::Any) } else { Command::Pasv };
        self.command(&command, step);
    }

    fn tell_place(&mut self, setup: &Setup, host: SocketAddr, step: &mut Step) {
        let command = match host {
            SocketAddr::V4(place) if !setup.extended => Command::Port(place),
            SocketAddr::V4(_) | SocketAddr::V6(_) => Command::Eprt(host),
        };
        self.command(&command, step);
    }

    /// The same with the other verb, if there is another.
    fn other(&self, setup: &Setup) -> Option<Setup> {
        (!setup.tried_other && self.host_family() == Family::V4).then(|| Setup {
            extended: !setup.extended,
            tried_other: true,
            stage: Stage::Asked,
            ..setup.clone()
        })
    }

    pub(super) fn setup_reply(
        &mut self,
        mut session: Box<Session>,
        mut setup: Setup,
        said: &Said,
        step: &mut Step,
    ) -> State {
        if !said.code.is_final() {
            session.work = Work::Setup(setup);
            return State::Open(session);
        }
        match setup.stage {
            Stage::Asked => match self.place_of_host(&setup, said, step) {
                Some(place) => {
                    session.data = Data::Opening;
                    step.order(DataOrder::Open { client: self.meet(setup.want), host: Meet::Connect(place) });
                    setup.stage = Stage::Connecting { text: said.text.clone() };
                    session.work = Work::Setup(setup);
                }
                None => self.no_place(&mut session, &setup, step),
            },
            Stage::Told { client, host } => {
                if session.data != Data::Ready {
                    session.drop_data(step);
                    step.say(words::no_data());
                } else if said.code.class() == Class::Completed {
                    self.set_up(&setup, client, None, step);
                } else if let Some(other) = self.other(&setup) {
                    self.tell_place(&other, host, step);
                    session.work = Work::Setup(Setup { stage: Stage::Told { client, host }, ..other });
                } else {
                    session.drop_data(step);
                    step.say(said.wire.clone());
                }
            }
            Stage::Connecting { .. } | Stage::Listening => session.work = Work::Setup(setup),
        }
        State::Open(session)
    }

    /// Asks the host in the other way, or gives up.
    fn no_place(&mut self, session: &mut Session, setup: &Setup, step: &mut Step) {
        session.drop_data(step);
        match self.other(setup) {
            Some(other) => {
                self.ask_for_place(&other, step);
                session.work = Work::Setup(other);
            }
            None => step.say(words::no_data()),
        }
    }

    /// Where the host listens: at its own address, whatever address it says.
    fn place_of_host(&mut self, setup: &Setup, said: &Said, step: &mut Step) -> Option<SocketAddr> {
        let port = match said.code {
            Code::EXTENDED_PASSIVE if setup.extended => ExtendedPassive::parse(&said.text).ok()?.port,
            Code::PASSIVE if !setup.extended => {
                let place = Passive::parse(&said.text).ok()?.place;
                if IpAddr::V4(*place.ip()) != self.host.address {
                    tell_foreign(self, step);
                }
                place.port()
            }
            _ => return None,
        };
        if !address::is_data_port(port) {
            self.suspect("the host names a data port below 1024", step);
            return None;
        }
        Some(SocketAddr::new(self.host.address, port))
    }

    /// Tells the client that all is ready.
    fn set_up(&self, setup: &Setup, client: Option<SocketAddr>, text: Option<&Bytes>, step: &mut Step) {
        let line = |code: Code, text: Vec<u8>| -> Bytes {
            [format!("{code} ").as_bytes(), text.as_slice(), b"\r\n"].concat().into()
        };
        match (setup.want, client) {
            (Want::Passive { extended: false }, Some(SocketAddr::V4(place))) => {
                let host = text.filter(|_| !setup.extended).and_then(|text| Passive::parse(text).ok());
                step.say(match host {
                    Some(host) => line(Code::PASSIVE, host.write(place)),
                    None => Reply::passive(place).write(),
                });
            }
            (Want::Passive { extended: true }, Some(place)) => {
                let host = text.filter(|_| setup.extended).and_then(|text| ExtendedPassive::parse(text).ok());
                step.say(match host {
                    Some(host) => line(Code::EXTENDED_PASSIVE, host.write(place.port())),
                    None => Reply::extended_passive(place.port()).write(),
                });
            }
            (Want::Passive { .. }, _) => step.say(words::no_data()),
            (Want::Active { extended: false, .. }, _) => step.reply(Code::OK, "PORT command successful."),
            (Want::Active { extended: true, .. }, _) => step.reply(Code::OK, "EPRT command successful."),
        }
    }

    pub(super) fn data_event(&mut self, event: DataEvent, step: &mut Step) -> Result<(), Close> {
        self.with(step, |gate, state, step| match state {
            State::Open(session) => gate.session_data(session, event, step),
            // Of connections that are given up already.
            State::New
            | State::Securing { .. }
            | State::Greeting { .. }
            | State::Idle
            | State::Consulting { .. }
            | State::Held { .. }
            | State::Checking(_)
            | State::Prompting { .. }
            | State::Opening(_)
            | State::Rejecting { .. }
            | State::Closed => Ok(state),
        })
    }

    fn session_data(&mut self, mut session: Box<Session>, event: DataEvent, step: &mut Step) -> Result<State, Close> {
        match (event, session.data) {
            (DataEvent::Ready { client, host }, Data::Opening) => {
                session.data = Data::Ready;
                let work = core::mem::replace(&mut session.work, Work::Idle);
                let Work::Setup(mut setup) = work else {
                    session.work = work;
                    return Ok(State::Open(session));
                };
                match (&setup.stage, host) {
                    (Stage::Connecting { text }, _) => self.set_up(&setup, client, Some(text), step),
                    (Stage::Listening, Some(host)) => {
                        self.tell_place(&setup, host, step);
                        setup.stage = Stage::Told { client, host };
                        session.work = Work::Setup(setup);
                    }
                    (Stage::Listening, None) => return Err(Close::Fault("no place for the host to connect to")),
                    (Stage::Asked | Stage::Told { .. }, _) => session.work = Work::Setup(setup),
                }
                Ok(State::Open(session))
            }
            (DataEvent::Failed(side), Data::Opening) => {
                session.data = Data::None;
                let work = core::mem::replace(&mut session.work, Work::Idle);
                match work {
                    Work::Setup(setup) if side == Side::Host && matches!(setup.stage, Stage::Connecting { .. }) => {
                        self.no_place(&mut session, &setup, step);
                    }
                    Work::Setup(_) => step.say(words::no_data()),
                    Work::Idle
                    | Work::Reply(_)
                    | Work::Protect { .. }
                    | Work::Transfer(_)
                    | Work::Tail { .. }
                    | Work::Late { .. } => session.work = work,
                }
                Ok(State::Open(session))
            }
            (DataEvent::Failed(_), Data::Ready | Data::Running) => self.data_over(session, false, step),
            (DataEvent::Ended { clean, .. }, Data::Ready | Data::Running) => self.data_over(session, clean, step),
            // Of connections that are given up already.
            (DataEvent::Ready { .. }, Data::None | Data::Ready | Data::Running | Data::Over { .. })
            | (DataEvent::Failed(_), Data::None | Data::Over { .. })
            | (DataEvent::Ended { .. }, Data::None | Data::Opening | Data::Over { .. }) => Ok(State::Open(session)),
        }
    }

    /// The data connections are gone.
    fn data_over(&mut self, mut session: Box<Session>, clean: bool, step: &mut Step) -> Result<State, Close> {
        session.data = Data::Over { clean };
        let work = core::mem::replace(&mut session.work, Work::Idle);
        let Work::Transfer(mut transfer) = work else {
            session.work = work;
            return Ok(State::Open(session));
        };
        if let Some(last) = transfer.last.take() {
            let words = if clean { last } else { words::aborted() };
            return self.end_transfer(session, transfer, words, None, step);
        }
        if !clean && !transfer.aborted {
            transfer.patience = Some(step.soon(self.settings.limits.settle));
        }
        session.work = Work::Transfer(transfer);
        Ok(State::Open(session))
    }

    /// A command that moves data.
    pub(super) fn transfer(
        &mut self,
        mut session: Box<Session>,
        verb: Verb,
        command: &Command,
        step: &mut Step,
    ) -> State {
        if self.settings.client_data == ClientData::Private && !self.private {
            step.reply(Code::PROTECTION_NEEDED, "PROT P comes first.");
            return State::Open(session);
        }
        if session.data != Data::Ready {
            session.drop_data(step);
            step.say(words::no_data());
            return State::Open(session);
        }
        self.command(command, step);
        let to = if matches!(verb, Verb::Stor | Verb::Stou | Verb::Appe) { Side::Host } else { Side::Client };
        session.work = Work::Transfer(Transfer {
            to,
            begun: false,
            last: None,
            ahead: VecDeque::new(),
            aborted: false,
            patience: None,
        });
        State::Open(session)
    }

    /// A command that does not wait for the end of the transfer.
    pub(super) fn command_in_transfer(
        &mut self,
        mut session: Box<Session>,
        command: &Command,
        step: &mut Step,
    ) -> State {
        let Some(verb) = command.verb() else { return State::Open(session) };
        let data = session.data;
        if let Work::Transfer(transfer) = &mut session.work {
            transfer.ahead.push_back(verb);
            if verb == Verb::Abor {
                transfer.aborted = true;
                transfer.patience = Some(step.soon(self.settings.limits.settle));
            }
        }
        Self::command_ahead(command, step);
        if verb == Verb::Abor && matches!(data, Data::Ready | Data::Running) {
            step.order(DataOrder::Abort);
            session.data = Data::Over { clean: false };
            let work = core::mem::replace(&mut session.work, Work::Idle);
            session.work = match work {
                // The host was done; what it sent was not delivered.
                Work::Transfer(Transfer { last: Some(_), ahead, .. }) => {
                    session.data = Data::None;
                    step.say(words::aborted());
                    Work::Tail { ahead, held: None, deadline: step.soon(self.settings.limits.abort) }
                }
                Work::Transfer(transfer) => Work::Transfer(transfer),
                Work::Idle
                | Work::Reply(_)
                | Work::Protect { .. }
                | Work::Setup(_)
                | Work::Tail { .. }
                | Work::Late { .. } => work,
            };
        }
        State::Open(session)
    }

    pub(super) fn transfer_reply(
        &mut self,
        mut session: Box<Session>,
        mut transfer: Transfer,
        said: Said,
        step: &mut Step,
    ) -> Result<State, Close> {
        let is_answered = transfer.last.is_some();
        if !said.code.is_final() {
            step.say(said.wire);
            if !transfer.begun && !is_answered {
                transfer.begun = true;
                self.start(&mut session, transfer.to, step);
            }
        } else if !transfer.ahead.is_empty() && (is_answered || is_ahead(said.code)) {
            transfer.ahead.pop_front();
            step.say(said.wire);
        } else if !is_answered {
            return self.transferred(session, transfer, said, step);
        }
        session.work = Work::Transfer(transfer);
        Ok(State::Open(session))
    }

    fn start(&self, session: &mut Session, to: Side, step: &mut Step) {
        if session.data == Data::Ready {
            session.data = Data::Running;
            step.order(DataOrder::Start { client_tls: self.private, host_tls: session.host_private, to });
        }
    }

    /// The host's last word on a transfer.
    fn transferred(
        &mut self,
        mut session: Box<Session>,
        mut transfer: Transfer,
        said: Said,
        step: &mut Step,
    ) -> Result<State, Close> {
        if said.code.class() != Class::Completed {
            session.drop_data(step);
            return self.end_transfer(session, transfer, said.wire, None, step);
        }
        if !transfer.begun && !transfer.aborted {
            // There are hosts that leave out the first word.
            transfer.begun = true;
            self.start(&mut session, transfer.to, step);
        }
        match session.data {
            Data::Over { clean: true } => self.end_transfer(session, transfer, said.wire, None, step),
            Data::Running => {
                step.order(DataOrder::Finish);
                transfer.last = Some(said.wire);
                transfer.patience = None;
                session.work = Work::Transfer(transfer);
                Ok(State::Open(session))
            }
            // Cut, and the host does not know it. Where the client wanted that, the host may have said it in one word.
            Data::None | Data::Opening | Data::Ready | Data::Over { clean: false } => {
                let held = transfer.aborted.then_some(said.wire);
                self.end_transfer(session, transfer, words::aborted(), held, step)
            }
        }
    }

    /// Tells the client how a transfer ended.
    fn end_transfer(
        &mut self,
        mut session: Box<Session>,
        transfer: Transfer,
        words: Bytes,
        held: Option<Bytes>,
        step: &mut Step,
    ) -> Result<State, Close> {
        step.say(words);
        session.data = Data::None;
        if session.gone {
            step.say(words::host_lost());
            return Err(Close::Host);
        }
        session.work = if transfer.ahead.is_empty() {
            Work::Idle
        } else {
            let limits = &self.settings.limits;
            let span = if transfer.aborted { limits.abort } else { limits.settle };
            Work::Tail { ahead: transfer.ahead, held, deadline: step.soon(span) }
        };
        Ok(State::Open(session))
    }

    /// The host does not say how a transfer ended whose data was cut, or says nothing at all.
    pub(super) fn transfer_timeout(
        &mut self,
        mut session: Box<Session>,
        transfer: Transfer,
        step: &mut Step,
    ) -> Result<State, Close> {
        session.drop_data(step);
        if transfer.patience.is_none() {
            step.say(words::unavailable());
            return Err(Close::Timeout("the host's reply"));
        }
        step.say(if transfer.begun { words::aborted() } else { words::no_data() });
        session.give_up(usize::from(transfer.last.is_none()), &transfer.ahead);
        session.wait(true, &self.settings.limits, step);
        Ok(State::Open(session))
    }
}

/// A host behind a NAT names an address of its own; the data goes to where its control connection is all the same.
fn tell_foreign(gate: &mut Gate, step: &mut Step) {
    gate.suspect("the host names a data address that is not its own", step);
}
