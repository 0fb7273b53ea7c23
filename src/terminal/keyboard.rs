//! Keying: what each key does to the fields, the cursor and the session (5250 Functions Reference, "Keyboard functions").
//!
//! Where the operator errs (protected area, wrong character, no room), nothing changes and a [`Slip`] says why; unlike a
//! hardware terminal the keyboard does not lock for it.

use proxy_tn5250::input::Aid;
use proxy_tn5250::record::{Flags, Opcode};

use super::display::{Display, Lock, content, is_signed};

/// A key of the 5250 keyboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// To the next input field.
    Tab,
    /// To the start of this input field, or of the one before.
    BackTab,
    /// One cell up.
    Up,
    /// One cell down.
    Down,
    /// One cell left.
    Left,
    /// One cell right.
    Right,
    /// To where the host put the cursor first.
    Home,
    /// Behind the last character of the field.
    End,
    /// To the first input field on a later row.
    NewLine,
    /// Insert mode on or off.
    Insert,
    /// Takes the character at the cursor out.
    Delete,
    /// Takes the character before the cursor out.
    Backspace,
    /// Clears the field from the cursor on, adjusts it, and goes to the next one.
    FieldExit,
    /// Likewise, and makes the number negative.
    FieldMinus,
    /// Marks the rest of the field to be duplicated, and goes to the next one.
    Dup,
    /// Clears all input fields that were modified.
    EraseInput,
    /// Ends insert mode and an error state.
    Reset,
    /// A key that reports to the host: Enter, the function keys, Roll, Clear, Help, Print.
    Aid(Aid),
    /// Attention.
    Attention,
    /// System Request, with what was keyed on its line.
    SystemRequest(String),
}

/// Why a key did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Slip {
    /// The host is at work.
    #[error("the keyboard is locked: the host is at work")]
    Locked,
    /// The host reported an error.
    #[error("the keyboard is locked by an error: press Reset")]
    Error,
    /// The cursor is in no input field.
    #[error("the cursor is in a protected area")]
    Protected,
    /// The character has no place in this code page or field.
    #[error("that character is not allowed here")]
    Character,
    /// Insert mode, and the field is full.
    #[error("there is no room to insert")]
    Full,
}

impl Display {
    /// Presses a key; what comes back is a record's content for the host.
    ///
    /// # Errors
    ///
    /// When the key can do nothing now. Nothing has changed then.
    pub fn press(&mut self, key: &Key) -> Result<Option<Vec<u8>>, Slip> {
        match key {
            Key::Attention => return Ok(Some(content(Flags::ATN, Opcode::NO_OPERATION, &[]))),
            Key::SystemRequest(line) => {
                let line = self.page.encode_all(line);
                return Ok(Some(content(Flags::SRQ, Opcode::NO_OPERATION, &line)));
            }
            Key::Reset => {
                self.reset();
                return Ok(None);
            }
            Key::Aid(aid) => {
                self.check_lock()?;
                return self.report(*aid).map(Some).ok_or(Slip::Locked);
            }
            Key::Char(_)
            | Key::Tab
            | Key::BackTab
            | Key::Up
            | Key::Down
            | Key::Left
            | Key::Right
            | Key::Home
            | Key::End
            | Key::NewLine
            | Key::Insert
            | Key::Delete
            | Key::Backspace
            | Key::FieldExit
            | Key::FieldMinus
            | Key::Dup
            | Key::EraseInput => self.check_lock()?,
        }
        self.edit(key)
    }

    const fn check_lock(&self) -> Result<(), Slip> {
        match self.lock {
            Lock::Free => Ok(()),
            Lock::System => Err(Slip::Locked),
            Lock::Error => Err(Slip::Error),
        }
    }

    fn edit(&mut self, key: &Key) -> Result<Option<Vec<u8>>, Slip> {
        let columns = usize::from(self.screen.columns());
        match key {
            Key::Char(character) => return self.key(*character),
            Key::Tab => self.tab(),
            Key::BackTab => self.back_tab(),
            Key::Up => self.step(usize::from(self.screen.rows() - 1) * columns),
            Key::Down => self.step(columns),
            Key::Left => self.step(usize::from(self.screen.rows()) * columns - 1),
            Key::Right => self.step(1),
            Key::Home => self.go_home(),
            Key::End => {
                let (index, _) = self.here()?;
                let data = self.field_cells(index);
                let used = data.iter().rposition(|&cell| !is_blank(cell)).map_or(0, |last| last + 1);
                self.cursor = (self.start(index) + used.min(data.len() - 1)) % self.cell_count();
            }
            Key::NewLine => {
                let row = self.cursor / columns;
                let next = self.inputs().into_iter().map(|index| self.start(index)).find(|start| start / columns > row);
                match next {
                    Some(start) => self.cursor = start,
                    None => self.go_home(),
                }
            }
            Key::Insert => self.insert = !self.insert,
            Key::Delete => {
                let (index, offset) = self.here()?;
                let mut data = self.field_cells(index);
                data.remove(offset);
                data.push(0);
                self.put_field(index, data);
            }
            Key::Backspace => {
                let (index, offset) = self.here()?;
                if offset == 0 {
                    return Err(Slip::Protected);
                }
                let mut data = self.field_cells(index);
                data.remove(offset - 1);
                data.push(0);
                self.put_field(index, data);
                self.step(self.cell_count() - 1);
            }
            Key::FieldExit => {
                let (index, offset) = self.here()?;
                return Ok(self.exit_field(index, offset, false));
            }
            Key::FieldMinus => {
                let (index, offset) = self.here()?;
                if !is_signed(self.screen.fields()[index].ffw) {
                    return Err(Slip::Character);
                }
                return Ok(self.exit_field(index, offset, true));
            }
            Key::Dup => {
                let (index, offset) = self.here()?;
                if self.screen.fields()[index].ffw & 0x1000 == 0 {
                    return Err(Slip::Character);
                }
                let mut data = self.field_cells(index);
                data[offset..].fill(0x1C);
                self.put_field(index, data);
                return Ok(self.leave_field(index));
            }
            Key::EraseInput => self.erase_input(),
            // Answered by `press`.
            Key::Reset | Key::Aid(_) | Key::Attention | Key::SystemRequest(_) => {}
        }
        Ok(None)
    }

    fn cell_count(&self) -> usize {
        usize::from(self.screen.rows()) * usize::from(self.screen.columns())
    }

    fn step(&mut self, cells: usize) {
        self.cursor = (self.cursor + cells) % self.cell_count();
    }

    /// The input field under the cursor, and the cursor's offset in it.
    fn here(&self) -> Result<(usize, usize), Slip> {
        let count = self.cell_count();
        let found = self.inputs().into_iter().find_map(|index| {
            let offset = (self.cursor + count - self.start(index)) % count;
            (offset < usize::from(self.screen.fields()[index].length)).then_some((index, offset))
        });
        found.ok_or(Slip::Protected)
    }

    fn tab(&mut self) {
        let starts: Vec<usize> = self.inputs().into_iter().map(|index| self.start(index)).collect();
        let next = starts.iter().find(|&&start| start > self.cursor).or_else(|| starts.first());
        if let Some(&start) = next {
            self.cursor = start;
        }
    }

    fn back_tab(&mut self) {
        let starts: Vec<usize> = self.inputs().into_iter().map(|index| self.start(index)).collect();
        let before = starts.iter().rev().find(|&&start| start < self.cursor).or_else(|| starts.last());
        if let Some(&start) = before {
            self.cursor = start;
        }
    }

    fn key(&mut self, character: char) -> Result<Option<Vec<u8>>, Slip> {
        let (index, offset) = self.here()?;
        let ffw = self.screen.fields()[index].ffw;
        let monocase = ffw & 0x0020 != 0;
        let character = if monocase { character.to_uppercase().next().unwrap_or(character) } else { character };
        if !is_allowed(character, ffw) {
            return Err(Slip::Character);
        }
        let cell = self.page.encode(character).filter(|&cell| cell >= 0x40).ok_or(Slip::Character)?;
        let mut data = self.field_cells(index);
        // The last cell of a signed numeric field is the sign's.
        let usable = if is_signed(ffw) { data.len().saturating_sub(1) } else { data.len() };
        if offset >= usable {
            return Err(Slip::Character);
        }
        if self.insert {
            if !is_blank(data[usable - 1]) {
                return Err(Slip::Full);
            }
            data.remove(usable - 1);
            data.insert(offset, cell);
        } else {
            data[offset] = cell;
        }
        self.put_field(index, data);
        if offset + 1 < usable {
            self.step(1);
        } else if ffw & 0x0080 != 0 {
            return Ok(self.report(Aid::ENTER));
        } else if ffw & 0x0040 == 0 {
            self.tab();
        }
        Ok(None)
    }

    fn exit_field(&mut self, index: usize, offset: usize, negative: bool) -> Option<Vec<u8>> {
        let ffw = self.screen.fields()[index].ffw;
        let mut data = self.field_cells(index);
        data[offset..].fill(0);
        let signed = is_signed(ffw);
        let usable = if signed { data.len().saturating_sub(1) } else { data.len() };
        let fill = match ffw & 0x0007 {
            5 => Some(0xF0),
            6 => Some(0x40),
            _ if signed => Some(0x40),
            _ => None,
        };
        if let Some(fill) = fill {
            let keyed = offset.min(usable);
            data[..usable].rotate_right(usable - keyed);
            data[..usable - keyed].fill(fill);
        }
        if let (true, Some(sign)) = (signed, data.last_mut()) {
            *sign = if negative { 0x60 } else { 0x40 };
        }
        self.put_field(index, data);
        self.leave_field(index)
    }

    /// To the next field; an auto-enter field reports instead.
    fn leave_field(&mut self, index: usize) -> Option<Vec<u8>> {
        if self.screen.fields()[index].ffw & 0x0080 != 0 {
            return self.report(Aid::ENTER);
        }
        self.cursor = self.start(index);
        self.tab();
        None
    }
}

const fn is_blank(cell: u8) -> bool {
    matches!(cell, 0 | 0x40)
}

/// Whether the field's shift lets the character in.
fn is_allowed(character: char, ffw: u16) -> bool {
    match (ffw >> 8) & 0x07 {
        1 => character.is_alphabetic() || matches!(character, ',' | '.' | '-' | ' '),
        3 => character.is_ascii_digit() || matches!(character, '+' | '-' | ',' | '.' | ' '),
        5 | 7 => character.is_ascii_digit(),
        6 => false,
        _ => !character.is_control(),
    }
}
