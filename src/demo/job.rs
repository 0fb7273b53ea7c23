//! One terminal at the simulated host: two jobs, the pages they show, and the keys between them.

use core::mem;

use proxy_tn5250::ebcdic::CodePage;
use proxy_tn5250::input::{self, Aid};
use proxy_tn5250::record::{self, Flags, Opcode};
use proxy_tn5250::telnet::{self, Mode};
use tokio::io::{AsyncRead, AsyncWrite};

use super::host::{Happening, HostSettings, Query};
use super::page::{Facts, Place};
use super::wire::{Over, Terminal, Wire};
use crate::system::System;

/// So many refused passwords end the connection, as a host does that varies off the device (QMAXSIGN).
const TRIES_MAX: u32 = 5;

/// What the terminal's next record is.
enum Operator {
    Key { aid: Aid, fields: Vec<((u8, u8), String)> },
    SystemRequest(String),
    Attention,
}

/// A job: one of the two that a display can have.
#[derive(Debug)]
struct Job {
    place: Place,
    user: String,
    message: Option<String>,
    refused: u32,
    /// What the terminal gave for its display when the other job came up.
    saved: Option<Vec<u8>>,
}

impl Job {
    const fn new() -> Self {
        Self { place: Place::SignOn, user: String::new(), message: None, refused: 0, saved: None }
    }
}

/// Runs one terminal's session.
pub(super) async fn run<S>(stream: S, settings: &HostSettings, number: u32) -> Result<(), Over>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::new(stream, settings);
    let mut seed = [0; 8];
    System::new().fill(&mut seed).map_err(|_| Over)?;
    let mut terminal = wire.negotiate(seed).await?;
    let wants_record = |terminal: &Terminal| {
        terminal.variable("IBMSENDCONFREC").is_some_and(|value| value.eq_ignore_ascii_case("YES"))
    };

    let device = loop {
        let Some(name) = terminal.variable("DEVNAME") else { break format!("QPADEV{number:04}") };
        if !settings.busy.contains(&name) {
            break name;
        }
        if wants_record(&terminal) {
            wire.startup("8902", "").await?;
        }
        wire.ask_device(&mut terminal).await?;
        if terminal.variable("DEVNAME").as_ref() == Some(&name) {
            return Err(Over);
        }
    };
    settings.tell(Happening::Connected {
        device: device.clone(),
        terminal_type: String::from_utf8_lossy(&terminal.kind).into_owned(),
    });

    let credentials = terminal.credentials();
    let auto = credentials.as_ref().filter(|(user, password)| settings.accepts(user, password)).map(|(user, _)| user);
    if wants_record(&terminal) {
        let code = if credentials.is_some() && auto.is_none() { "I906" } else { "I902" };
        wire.startup(code, &device).await?;
    }
    if telnet::mode_of(&terminal.kind) == Mode::Printer {
        // A printer without anything to print: the session stays open and empty.
        loop {
            wire.take().await?;
        }
    }
    let mut session = Session {
        wire,
        settings,
        device,
        wide: telnet::is_wide(&terminal.kind),
        jobs: [Some(Job::new()), None],
        current: 0,
        shown_wide: false,
    };
    match auto {
        Some(user) => session.accept(user.clone()).await?,
        None => session.show().await?,
    }
    session.serve().await
}

struct Session<'a, S> {
    wire: Wire<'a, S>,
    settings: &'a HostSettings,
    device: String,
    wide: bool,
    jobs: [Option<Job>; 2],
    current: usize,
    shown_wide: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    async fn serve(&mut self) -> Result<(), Over> {
        loop {
            match self.operator().await? {
                Operator::Key { aid, fields } => {
                    let place = self.job().place;
                    self.settings.tell(Happening::Keyed { place, aid: aid.0 });
                    if !self.settings.delay.is_zero() {
                        tokio::time::sleep(self.settings.delay).await;
                    }
                    self.key(place, aid, &fields).await?;
                }
                Operator::SystemRequest(line) => self.system_request(&line).await?,
                Operator::Attention => self.attention().await?,
            }
        }
    }

    fn job(&mut self) -> &mut Job {
        self.jobs[self.current].get_or_insert_with(Job::new)
    }

    /// Draws the current job's page and invites the operator.
    async fn show(&mut self) -> Result<(), Over> {
        let place = self.job().place;
        self.draw(place).await
    }

    async fn draw(&mut self, place: Place) -> Result<(), Over> {
        if place == Place::Menu && self.settings.query == Query::Often {
            self.query().await?;
        }
        let (settings, device, second) = (self.settings, self.device.clone(), self.current == 1);
        let job = self.job();
        let message = job.message.take();
        let user = job.user.clone();
        let facts = Facts { settings, device: &device, user: &user, message: message.as_deref(), second };
        let mut data = place.draw(&facts);
        if mem::replace(&mut self.shown_wide, place == Place::Wide) && !data.starts_with(&[0x04, 0x40]) {
            // Back to 24x80 goes only by clearing.
            data.splice(0..0, [0x04, 0x40]);
        }
        self.wire.put(Opcode::PUT_GET, &data).await
    }

    /// Asks the terminal what it is, and waits for the answer.
    async fn query(&mut self) -> Result<(), Over> {
        self.wire.put(Opcode::PUT_GET, &[0x04, 0xF3, 0x00, 0x05, 0xD9, 0x70, 0x00]).await?;
        loop {
            let content = self.wire.take().await?;
            if input::is_query_reply(record::parse(&content)?.data) {
                return Ok(());
            }
            self.settings.tell(Happening::Unasked);
        }
    }

    async fn operator(&mut self) -> Result<Operator, Over> {
        loop {
            let content = self.wire.take().await?;
            let record = record::parse(&content)?;
            if record.flags.has(Flags::SRQ) {
                return Ok(Operator::SystemRequest(CodePage::CP037.decode_all(record.data)));
            }
            if record.flags.has(Flags::ATN) {
                return Ok(Operator::Attention);
            }
            if !record.flags.is_empty() || record.data.is_empty() {
                // A negative response, help in an error state, an acknowledgement: nothing to do here.
                continue;
            }
            let input = input::parse(record.data)?;
            if input.aid == Aid::INBOUND_STRUCTURED_FIELD {
                self.settings.tell(Happening::Unasked);
                continue;
            }
            let fields = if input.body.is_empty() { Vec::new() } else { input.modified(|_, _| None)? };
            let fields = fields
                .iter()
                .map(|field| {
                    let text = CodePage::CP037.decode_all(field.data);
                    ((field.row, field.column), text.trim_end_matches(['\0', ' ']).to_owned())
                })
                .collect();
            return Ok(Operator::Key { aid: input.aid, fields });
        }
    }

    async fn key(&mut self, place: Place, aid: Aid, fields: &[((u8, u8), String)]) -> Result<(), Over> {
        let [first, second] = place.fields(self.settings);
        let field = |at: (u8, u8)| fields.iter().find(|(place, _)| *place == at).map(|(_, text)| text.as_str());
        let leaves = Aid::function_key(3) == Some(aid) || Aid::function_key(12) == Some(aid);
        match place {
            Place::SignOn => return self.sign_on(field(first), field(second).unwrap_or("")).await,
            Place::Menu if Aid::function_key(3) == Some(aid) => return self.sign_off().await,
            Place::Menu if aid == Aid::ENTER => match field(first).unwrap_or("").trim() {
                "1" if self.wide => self.job().place = Place::Wide,
                "1" => self.job().message = Some("This terminal shows 24x80 only.".to_owned()),
                "2" => self.job().place = Place::Panel,
                "3" => self.job().place = Place::LogIn,
                "4" => {
                    self.wire.put(Opcode::MESSAGE_LIGHT_ON, &[]).await?;
                    self.job().message = Some("The message light is on.".to_owned());
                }
                "90" => return self.sign_off().await,
                "" => {}
                other => {
                    let text = format!("Selection {other} is not on this menu.");
                    self.job().message = Some(text);
                }
            },
            Place::LogIn if aid == Aid::ENTER => {
                let complete = field(first).is_some_and(|text| !text.is_empty()) && field(second).is_some();
                if complete {
                    self.job().place = Place::Application;
                } else {
                    self.job().message = Some("Key a name and a secret word.".to_owned());
                }
            }
            Place::Panel if aid == Aid::ENTER => {
                self.job().message = field(first).map(|text| format!("Remark: {text}"));
                self.job().place = Place::Menu;
            }
            Place::LogIn if !leaves => {}
            Place::Menu => {}
            Place::Wide | Place::Panel | Place::LogIn | Place::Application => self.job().place = Place::Menu,
            // Shown and answered by their own dialogues.
            Place::SystemRequest | Place::Attention => {}
        }
        self.show().await
    }

    async fn sign_on(&mut self, user: Option<&str>, password: &str) -> Result<(), Over> {
        // On a retry the terminal leaves the user's field out, as the host drew it and nobody changed it.
        if let Some(user) = user {
            self.job().user = user.trim().to_ascii_uppercase();
        }
        let user = self.job().user.clone();
        if self.settings.accepts(&user, password) {
            return self.accept(user).await;
        }
        self.settings.tell(Happening::Refused { user: user.clone() });
        let job = self.job();
        job.refused += 1;
        if job.refused >= TRIES_MAX {
            return Err(Over);
        }
        let text = if self.settings.accounts.iter().any(|account| account.user == user) {
            "CPF1107 - Password not correct for user profile.".to_owned()
        } else {
            format!("CPF1120 - User {user} does not exist.")
        };
        self.job().message = Some(text);
        self.show().await
    }

    async fn accept(&mut self, user: String) -> Result<(), Over> {
        self.settings.tell(Happening::SignedOn { user: user.clone() });
        *self.job() = Job { place: Place::Menu, user, ..Job::new() };
        if self.settings.query != Query::Never {
            self.query().await?;
        }
        self.wire.put(Opcode::MESSAGE_LIGHT_OFF, &[]).await?;
        self.show().await
    }

    /// Ends the current job; what comes up is the other job, or the sign-on display.
    async fn sign_off(&mut self) -> Result<(), Over> {
        let user = mem::take(&mut self.job().user);
        if !user.is_empty() {
            self.settings.tell(Happening::SignedOff { user });
        }
        self.jobs[self.current] = None;
        if self.jobs[1 - self.current].is_some() {
            self.current = 1 - self.current;
            return self.restore().await;
        }
        self.current = 0;
        self.show().await
    }

    /// Takes the invitation back and has the terminal save its display.
    async fn save(&mut self) -> Result<(), Over> {
        self.wire.put(Opcode::CANCEL_INVITE, &[]).await?;
        loop {
            let content = self.wire.take().await?;
            let record = record::parse(&content)?;
            if record.opcode == Opcode::CANCEL_INVITE && record.data.is_empty() {
                break;
            }
        }
        self.wire.put(Opcode::SAVE_SCREEN, &[0x04, 0x02]).await?;
        loop {
            let content = self.wire.take().await?;
            let record = record::parse(&content)?;
            if input::is_save_reply(record.data) {
                self.job().saved = Some(record.data.to_vec());
                return Ok(());
            }
        }
    }

    /// Gives the terminal the display back that it saved for the current job, and invites.
    async fn restore(&mut self) -> Result<(), Over> {
        let Some(saved) = self.job().saved.take() else { return self.show().await };
        self.shown_wide = self.job().place == Place::Wide;
        self.wire.put(Opcode::RESTORE_SCREEN, &saved).await?;
        self.wire.put(Opcode::INVITE, &[0x04, 0x52, 0x00, 0x00]).await
    }

    async fn attention(&mut self) -> Result<(), Over> {
        self.save().await?;
        self.draw(Place::Attention).await?;
        loop {
            // Attention and System Request are not answered while a panel of this kind is up.
            if let Operator::Key { aid, .. } = self.operator().await? {
                self.settings.tell(Happening::Keyed { place: Place::Attention, aid: aid.0 });
                return self.restore().await;
            }
        }
    }

    async fn system_request(&mut self, line: &str) -> Result<(), Over> {
        self.save().await?;
        let mut selection = line.trim().to_owned();
        loop {
            match selection.as_str() {
                "1" => return self.other_job().await,
                "90" => {
                    self.job().saved = None;
                    return self.sign_off().await;
                }
                "" => {}
                other => {
                    let text = format!("Selection {other} is not on this menu.");
                    self.job().message = Some(text);
                }
            }
            self.draw(Place::SystemRequest).await?;
            let Operator::Key { aid, fields } = self.operator().await? else { continue };
            self.settings.tell(Happening::Keyed { place: Place::SystemRequest, aid: aid.0 });
            let keyed = fields.first().map_or("", |(_, text)| text.trim());
            if aid != Aid::ENTER || keyed.is_empty() {
                return self.restore().await;
            }
            keyed.clone_into(&mut selection);
        }
    }

    /// Goes to the other job; where there is none, to its sign-on display.
    async fn other_job(&mut self) -> Result<(), Over> {
        self.current = 1 - self.current;
        if self.jobs[self.current].is_some() {
            return self.restore().await;
        }
        self.show().await
    }
}
