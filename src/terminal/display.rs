//! What the terminal shows and what it lets the operator do: the image, the cursor, the keyboard's locks, the modified fields.
//!
//! Host records come in as tokens, answers go out as record contents (5250 Functions Reference, chapter 15; RFC 1205).
//!
//! Invariants: the operator reaches the host only while a READ is pending and the keyboard is free; what is keyed into a
//! hidden field is not in the image, is wiped when it goes, and is never drawn; what a saved screen holds does not leave
//! this process (the host gets a number to give back, not the cells).

use std::collections::{BTreeMap, VecDeque};

use proxy_tn5250::display::{Token, Tokens};
use proxy_tn5250::ebcdic::CodePage;
use proxy_tn5250::input::{self, Aid, FieldData, Input, QueryReply};
use proxy_tn5250::record::{Flags, Opcode, Record};
use proxy_tn5250::screen::{Field, Read, Screen};
use zeroize::Zeroizing;

/// How many saved screens are kept; the host of an ordinary session has one or two out at a time.
const SAVED_MAX: usize = 32;

/// Why the keyboard takes no input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// It takes input.
    Free,
    /// The host is at work.
    System,
    /// The host reported an error on the error line; Reset frees the keyboard.
    Error,
}

/// Negative responses (5250 Functions Reference, "Data stream negative responses").
mod sense {
    pub(super) const COMMAND: [u8; 4] = [0x10, 0x03, 0x01, 0x01];
    pub(super) const STRUCTURED_FIELD: [u8; 4] = [0x10, 0x05, 0x01, 0x11];
    pub(super) const ADDRESS: [u8; 4] = [0x10, 0x05, 0x01, 0x22];
    pub(super) const RESTORE: [u8; 4] = [0x10, 0x05, 0x01, 0x27];
}

/// What one SAVE SCREEN keeps.
struct Saved {
    number: u32,
    screen: Screen,
    hidden: Hidden,
    cursor: usize,
    lock: Lock,
}

/// What was keyed into hidden fields, by the address of the first data cell.
type Hidden = BTreeMap<u16, Zeroizing<Vec<u8>>>;

/// The terminal's display and keyboard.
pub struct Display {
    pub(super) screen: Screen,
    pub(super) page: CodePage,
    wide: bool,
    hidden: Hidden,
    /// The cursor's cell, from 0.
    pub(super) cursor: usize,
    pub(super) lock: Lock,
    pub(super) insert: bool,
    message_light: bool,
    alarms: u32,
    saved: VecDeque<Saved>,
    saves: u32,
    restored: bool,
    records: u64,
}

impl core::fmt::Debug for Display {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // No cells: they may hold what was keyed into a hidden field.
        f.debug_struct("Display").field("lock", &self.lock).finish_non_exhaustive()
    }
}

/// The second control character of a WRITE TO DISPLAY or READ, which counts when the command ends, and where MOVE CURSOR
/// put the cursor meanwhile.
#[derive(Default)]
struct Ending {
    control: Option<u8>,
    moved: bool,
}

impl Display {
    /// An empty display; `wide` where it can show 27x132.
    #[must_use]
    pub fn new(page: CodePage, wide: bool) -> Self {
        Self {
            screen: Screen::new(),
            page,
            wide,
            hidden: Hidden::new(),
            cursor: 0,
            lock: Lock::System,
            insert: false,
            message_light: false,
            alarms: 0,
            saved: VecDeque::new(),
            saves: 0,
            restored: false,
            records: 0,
        }
    }

    /// The image.
    #[must_use]
    pub const fn screen(&self) -> &Screen {
        &self.screen
    }

    /// The code page by which texts are shown.
    #[must_use]
    pub const fn page(&self) -> CodePage {
        self.page
    }

    /// The cursor's row and column, from 1.
    #[must_use]
    pub fn cursor(&self) -> (u8, u8) {
        self.place(self.cursor)
    }

    /// Whether the keyboard takes input.
    #[must_use]
    pub const fn lock(&self) -> Lock {
        self.lock
    }

    /// Whether the host waits for the operator and the keyboard is free.
    #[must_use]
    pub fn awaits_operator(&self) -> bool {
        self.screen.pending_read().is_some() && self.lock == Lock::Free
    }

    /// Whether typed characters are inserted.
    #[must_use]
    pub const fn inserts(&self) -> bool {
        self.insert
    }

    /// Whether a message waits for the operator.
    #[must_use]
    pub const fn message_light(&self) -> bool {
        self.message_light
    }

    /// How often the host sounded the alarm.
    #[must_use]
    pub const fn alarms(&self) -> u32 {
        self.alarms
    }

    /// How many display records the host sent.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// The text that covers the error line while an error locks the keyboard, and that line's row from 1.
    #[must_use]
    pub fn error_line(&self) -> Option<(u8, &[u8])> {
        let line = self.screen.error_line();
        (self.lock == Lock::Error && !line.is_empty()).then(|| (self.screen.error_row(), line))
    }

    fn cells(&self) -> usize {
        usize::from(self.screen.rows()) * usize::from(self.screen.columns())
    }

    pub(super) fn place(&self, cell: usize) -> (u8, u8) {
        let columns = usize::from(self.screen.columns());
        let row = u8::try_from(cell / columns).map_or(u8::MAX, |row| row.saturating_add(1));
        let column = u8::try_from(cell % columns).map_or(u8::MAX, |column| column.saturating_add(1));
        (row, column)
    }

    pub(super) fn cell(&self, row: u8, column: u8) -> usize {
        let cell = usize::from(row.max(1) - 1) * usize::from(self.screen.columns()) + usize::from(column.max(1) - 1);
        cell.min(self.cells() - 1)
    }

    /// Takes a display record and returns what the terminal answers at once.
    pub fn apply(&mut self, record: &Record<'_>) -> Vec<Vec<u8>> {
        let mut answers = Vec::new();
        let opcode = record.opcode;
        if opcode == Opcode::CANCEL_INVITE {
            self.screen.answered();
            answers.push(content(Flags(0), Opcode::CANCEL_INVITE, &[]));
        } else if opcode == Opcode::MESSAGE_LIGHT_ON {
            self.message_light = true;
        } else if opcode == Opcode::MESSAGE_LIGHT_OFF {
            self.message_light = false;
        }
        if record.data.is_empty() {
            return answers;
        }
        self.records += 1;
        let mut ending = Ending::default();
        for token in Tokens::new(record.data) {
            let Ok(token) = token else {
                answers.push(refusal(sense::COMMAND));
                break;
            };
            match self.obey(&token, &mut ending) {
                Ok(answer) => answers.extend(answer),
                Err(sense) => {
                    answers.push(refusal(sense));
                    break;
                }
            }
        }
        self.end_command(&mut ending);
        answers
    }

    fn obey(&mut self, token: &Token<'_>, ending: &mut Ending) -> Result<Option<Vec<u8>>, [u8; 4]> {
        match *token {
            Token::ClearUnit => self.clear(token, ending)?,
            Token::ClearUnitAlternate(_) => {
                if !self.wide {
                    return Err(sense::COMMAND);
                }
                self.clear(token, ending)?;
            }
            Token::ClearFormatTable => {
                self.end_command(ending);
                self.hidden.clear();
                self.draw(token)?;
            }
            Token::WriteToDisplay { cc1, cc2 } => {
                self.end_command(ending);
                self.control(cc1);
                self.draw(token)?;
                *ending = Ending { control: Some(cc2), moved: false };
            }
            Token::ReadInputFields { cc1, cc2 } => self.read(cc1, cc2, token, ending)?,
            Token::ReadMdtFields { cc1, cc2 } => self.read(cc1, cc2, token, ending)?,
            Token::ReadMdtAlternate { cc1, cc2 } => self.read(cc1, cc2, token, ending)?,
            Token::WriteErrorCode | Token::WriteErrorCodeToWindow { .. } => {
                self.end_command(ending);
                self.draw(token)?;
                self.lock = Lock::Error;
            }
            Token::SaveScreen => return Ok(Some(self.save(0x12, ending))),
            Token::SavePartialScreen(_) => return Ok(Some(self.save(0x13, ending))),
            Token::RestoreScreen(blob) | Token::RestorePartialScreen(blob) => {
                self.end_command(ending);
                self.restore(blob)?;
            }
            Token::ReadScreen | Token::ReadScreenExtended | Token::ReadScreenToPrint(_) => {
                self.end_command(ending);
                return Ok(Some(content(Flags(0), Opcode::NO_OPERATION, &self.visible())));
            }
            Token::ReadImmediate => {
                self.end_command(ending);
                return Ok(Some(self.input(Aid(0), Some(Read::InputFields))));
            }
            Token::ReadModifiedImmediateAlternate => {
                self.end_command(ending);
                return Ok(Some(self.input(Aid(0), Some(Read::MdtAlternate))));
            }
            Token::WriteStructuredField { kind: 0x70, .. } => {
                self.end_command(ending);
                let body = QueryReply::emulator(if self.wide { "3477" } else { "3179" }, self.model(), self.wide);
                let data = QueryReply::new(&body).write();
                return Ok(Some(content(Flags(0), Opcode::PUT_GET, &data)));
            }
            Token::WriteStructuredField { .. }
            | Token::NextStructuredField { .. }
            | Token::WriteSingleStructuredField { .. } => {
                return Err(sense::STRUCTURED_FIELD);
            }
            Token::StartOfHeader(_) => {
                self.hidden.clear();
                self.draw(token)?;
            }
            Token::InsertCursor { row, column } => {
                self.draw(token)?;
                if self.lock == Lock::Error {
                    self.cursor = self.cell(row, column);
                }
            }
            Token::MoveCursor { row, column } => {
                self.draw(token)?;
                self.cursor = self.cell(row, column);
                ending.moved = true;
            }
            // Nothing is printed here, and no client of ours asks for it.
            Token::CopyToPrinter(_) => {}
            Token::Roll { .. } => {
                self.end_command(ending);
                self.draw(token)?;
            }
            Token::StartField { .. }
            | Token::RepeatToAddress { .. }
            | Token::EraseToAddress { .. }
            | Token::TransparentData(_)
            | Token::Text(_) => {
                let from = self.screen.address();
                self.draw(token)?;
                let to = self.screen.address();
                // What the host writes over a field replaces what was keyed there.
                let from = if from > to { 0 } else { from };
                self.hidden.retain(|address, _| !(from..=to).contains(address));
            }
            Token::SetBufferAddress { .. }
            | Token::WriteExtendedAttribute { .. }
            | Token::WriteDisplayStructuredField { .. } => self.draw(token)?,
        }
        Ok(None)
    }

    fn draw(&mut self, token: &Token<'_>) -> Result<(), [u8; 4]> {
        self.screen.apply(token).map_err(|_| sense::ADDRESS)
    }

    const fn model(&self) -> &'static str {
        if self.wide { "0FC" } else { "002" }
    }

    fn clear(&mut self, token: &Token<'_>, ending: &mut Ending) -> Result<(), [u8; 4]> {
        *ending = Ending::default();
        self.draw(token)?;
        self.hidden.clear();
        self.cursor = 0;
        self.lock = Lock::System;
        self.insert = false;
        Ok(())
    }

    /// The first control character: locks the keyboard; the image knows what it does to the fields.
    fn control(&mut self, cc1: u8) {
        let action = cc1 & 0xE0;
        if action == 0 {
            return;
        }
        self.lock = Lock::System;
        self.screen.answered();
        if matches!(action, 0x80 | 0xA0 | 0xC0 | 0xE0) {
            self.hidden.clear();
        }
    }

    fn read(&mut self, cc1: u8, cc2: u8, token: &Token<'_>, ending: &mut Ending) -> Result<(), [u8; 4]> {
        self.end_command(ending);
        self.control(cc1);
        self.draw(token)?;
        if self.restored && self.lock == Lock::System {
            self.lock = Lock::Free;
        }
        self.restored = false;
        // The cursor stays where the write before put it.
        *ending = Ending { control: Some(cc2), moved: true };
        Ok(())
    }

    fn end_command(&mut self, ending: &mut Ending) {
        let Ending { control, moved } = core::mem::take(ending);
        let Some(cc2) = control else { return };
        if cc2 & 0x08 != 0 {
            self.lock = Lock::Free;
            if cc2 & 0x40 == 0 && !moved {
                self.go_home();
            }
        }
        if cc2 & 0x04 != 0 {
            self.alarms += 1;
        }
        if cc2 & 0x01 != 0 {
            self.message_light = true;
        } else if cc2 & 0x02 != 0 {
            self.message_light = false;
        }
    }

    /// To where INSERT CURSOR said, else to the first input field, else to the first cell.
    pub(super) fn go_home(&mut self) {
        self.cursor = match self.screen.home() {
            Some((row, column)) => self.cell(row, column),
            None => self.inputs().first().map_or(0, |&index| self.start(index)),
        };
    }

    /// The input fields, as places in the format table, in the order of the screen.
    pub(super) fn inputs(&self) -> Vec<usize> {
        let fields = self.screen.fields();
        let mut list: Vec<usize> = (0..fields.len()).filter(|&index| !fields[index].is_bypass()).collect();
        list.sort_by_key(|&index| fields[index].address);
        list
    }

    pub(super) fn start(&self, index: usize) -> usize {
        usize::from(self.screen.fields()[index].address)
    }

    fn save(&mut self, command: u8, ending: &mut Ending) -> Vec<u8> {
        self.end_command(ending);
        self.saves = self.saves.wrapping_add(1);
        if self.saved.len() == SAVED_MAX {
            self.saved.pop_front();
        }
        self.saved.push_back(Saved {
            number: self.saves,
            screen: self.screen.clone(),
            hidden: self.hidden.clone(),
            cursor: self.cursor,
            lock: self.lock,
        });
        let mut data = vec![0x04, command];
        data.extend_from_slice(&saved_name(self.saves));
        content(Flags(0), Opcode::SAVE_SCREEN, &data)
    }

    fn restore(&mut self, blob: &[u8]) -> Result<(), [u8; 4]> {
        let saved = self.saved.iter().rev().find(|saved| blob.starts_with(&saved_name(saved.number)));
        let saved = saved.ok_or(sense::RESTORE)?;
        self.screen = saved.screen.clone();
        self.screen.answered();
        self.hidden = saved.hidden.clone();
        self.cursor = saved.cursor;
        self.lock = saved.lock;
        self.restored = true;
        Ok(())
    }

    /// The cells as READ SCREEN returns them; what non-display fields hold is blanked.
    fn visible(&self) -> Vec<u8> {
        let mut hidden = false;
        let cells = self.screen.cells().iter();
        cells
            .map(|&cell| {
                if matches!(cell, 0x20..=0x3F) {
                    hidden = cell & 0x07 == 0x07;
                    cell
                } else if hidden {
                    0x40
                } else {
                    cell
                }
            })
            .collect()
    }

    /// Sends a key that reports to the host; `None` while the keyboard is locked or no read is pending.
    pub(super) fn report(&mut self, aid: Aid) -> Option<Vec<u8>> {
        if !self.awaits_operator() {
            return None;
        }
        let read = self.screen.answered();
        self.lock = Lock::System;
        self.insert = false;
        let fields = if self.sends_fields(aid) { read } else { None };
        Some(self.input(aid, fields))
    }

    /// Clear, Print and the PA keys send no fields; nor do function keys that the start-of-header masks.
    fn sends_fields(&self, aid: Aid) -> bool {
        if [Aid::CLEAR, Aid::PRINT, Aid::HELP, Aid::PA1, Aid::PA2, Aid::PA3].contains(&aid) {
            return false;
        }
        let Some(number) = aid.is_function_key() else { return true };
        let bit = u32::from(number.saturating_sub(1));
        let byte = 6usize.saturating_sub(usize::try_from(bit / 8).unwrap_or(0));
        self.screen.header().and_then(|header| header.get(byte)).is_none_or(|mask| mask & (1 << (bit % 8)) == 0)
    }

    fn input(&self, aid: Aid, read: Option<Read>) -> Vec<u8> {
        let (row, column) = self.cursor();
        let mut body = Vec::new();
        let fields = self.screen.fields();
        let inputs = if read.is_some() && fields.iter().any(Field::is_modified) { self.inputs() } else { Vec::new() };
        for index in inputs {
            let mut data = self.field_cells(index);
            if read == Some(Read::InputFields) {
                body.extend(data.iter().map(|&cell| if cell == 0 { 0x40 } else { cell }));
            } else if fields[index].is_modified() {
                if read == Some(Read::MdtFields) {
                    while data.last() == Some(&0) {
                        data.pop();
                    }
                    data.iter_mut().filter(|cell| **cell == 0).for_each(|cell| *cell = 0x40);
                }
                if is_signed(fields[index].ffw) {
                    sign(&mut data);
                }
                let (row, column) = self.screen.place(fields[index].address);
                body.extend(input::write_modified(&[FieldData { row, column, data: &data }]));
            }
        }
        content(Flags(0), Opcode::PUT_GET, &Input { row, column, aid, body: &body }.write())
    }

    /// All cells of a field, nulls and what was keyed into a hidden one included.
    pub(super) fn field_cells(&self, index: usize) -> Zeroizing<Vec<u8>> {
        let field = &self.screen.fields()[index];
        match self.hidden.get(&field.address) {
            Some(keyed) => keyed.clone(),
            None => Zeroizing::new(self.screen.field_data(field).to_vec()),
        }
    }

    /// Puts what was keyed into a field; the field counts as modified.
    pub(super) fn put_field(&mut self, index: usize, data: Zeroizing<Vec<u8>>) {
        self.screen.set_field_data(index, &data);
        let field = self.screen.fields()[index];
        if self.screen.is_hidden(&field) {
            self.hidden.insert(field.address, data);
        }
    }

    /// Clears all input fields that were modified: what CC1 C0 does when the host says it.
    pub(super) fn erase_input(&mut self) {
        let erase = Token::WriteToDisplay { cc1: 0xC0, cc2: 0x40 };
        if self.screen.apply(&erase).is_ok() {
            self.hidden.clear();
        }
        self.go_home();
    }

    /// Frees a keyboard that an error locked, and takes the error line away.
    pub(super) fn reset(&mut self) {
        self.insert = false;
        if self.lock == Lock::Error {
            self.lock = Lock::Free;
        }
    }
}

/// What stands for a saved screen on the wire, and what the host returns as it is: `SPSC` and ten digits, EBCDIC.
fn saved_name(number: u32) -> Vec<u8> {
    let mut name = vec![0xE2, 0xD7, 0xE2, 0xC3];
    name.extend(format!("{number:010}").bytes().map(|digit| digit | 0xF0));
    name
}

/// Whether a field's shift is signed numeric: its last cell is the sign's.
pub(super) const fn is_signed(ffw: u16) -> bool {
    ffw & 0x0700 == 0x0700
}

/// A signed numeric field is sent without its sign cell; minus is zone D on the last digit.
fn sign(data: &mut Vec<u8>) {
    let negative = data.pop() == Some(0x60);
    if let (true, Some(digit)) = (negative, data.last_mut()) {
        *digit = 0xD0 | (*digit & 0x0F);
    }
}

pub(super) fn content(flags: Flags, opcode: Opcode, data: &[u8]) -> Vec<u8> {
    Record { reserved: 0, flags, flags2: 0, opcode, extra: &[], data }.write()
}

fn refusal(sense: [u8; 4]) -> Vec<u8> {
    content(Flags::ERR, Opcode::NO_OPERATION, &sense)
}
