//! A client's display as the host believes it to be: cells, format table, extended attributes, cursor, pending read.
//!
//! Source: RFC 1205 §5 and IBM's 5494 Functions Reference (SC30-3533), sections 15.2 to 15.6, and where these leave room,
//! what GNU tn5250 and tn5250j do alike.
//!
//! - Cells are EBCDIC as sent, row after row; an attribute (`20`-`3F`) has a cell of its own; a cleared cell is `00`.
//! - START OF FIELD puts its attribute before the field and `20` behind it, which is what clients do.
//! - What the operator keys comes in only through [`Screen::set_field_data`], and never for a hidden field.
//! - An error line (WRITE ERROR CODE) covers a row until the operator presses Reset, which nobody tells the host.
//!   So it is kept beside the cells, see [`Screen::error_line`], and goes with the next write.
//! - After RESTORE SCREEN or an error the image is not [known](Screen::is_known), after windows and other structured
//!   fields that draw it is not [exact](Screen::is_exact), both until the display is cleared.
//! - Small: the cells, 10 bytes for each field, and nothing else on the heap unless a host uses it.

use core::fmt;

use crate::display::{HEADER_MAX, QUERY, QUERY_STATION_STATE, Token, Tokens, is_attribute};
use crate::ebcdic::CodePage;
use crate::error::Error;

mod repaint;
#[cfg(test)]
pub(crate) mod tests;

/// How many fields a format table holds.
pub const FIELDS_MAX: usize = 256;

/// The attribute of plain text, and what clients put behind a field.
pub const NORMAL: u8 = 0x20;

const SMALL: (u8, u8) = (24, 80);
const LARGE: (u8, u8) = (27, 132);

/// The buffer address after SBA row 1, column 0.
const BEFORE: u16 = u16::MAX;

/// The image of one display.
#[derive(Clone)]
pub struct Screen {
    cells: Box<[u8]>,
    extended: Vec<Extended>,
    fields: Vec<Field>,
    /// The field control words of all fields, in the order of the fields.
    fcws: Vec<u16>,
    error_line: Vec<u8>,
    header: Option<Header>,
    pending: Option<Read>,
    home: Option<(u8, u8)>,
    cursor: Option<(u8, u8)>,
    address: u16,
    rows: u8,
    columns: u8,
    in_error_line: bool,
    known: bool,
    exact: bool,
}

/// One entry of the format table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Field {
    /// The first data cell, from 0.
    pub address: u16,
    /// Number of data cells.
    pub length: u16,
    /// The field format word; its MDT bit is the one of the image.
    pub ffw: u16,
    fcws_start: u16,
    /// The attribute that START OF FIELD gave; [`Screen::is_hidden`] knows whether it still holds.
    pub attribute: u8,
    fcws_count: u8,
}

impl Field {
    /// The bit of the field format word that says "modified".
    pub const MDT: u16 = 0x0800;
    /// The bit of the field format word that keeps the operator out.
    pub const BYPASS: u16 = 0x2000;
    /// The bit of the field format word that has the client fold to upper case.
    pub const MONOCASE: u16 = 0x0020;

    /// Whether the operator cannot key into it.
    #[must_use]
    pub const fn is_bypass(&self) -> bool {
        self.ffw & Self::BYPASS != 0
    }

    /// Whether it counts as modified.
    #[must_use]
    pub const fn is_modified(&self) -> bool {
        self.ffw & Self::MDT != 0
    }

    fn range(&self) -> core::ops::Range<usize> {
        let start = usize::from(self.address);
        start..start.saturating_add(usize::from(self.length))
    }

    fn fcws_range(&self) -> core::ops::Range<usize> {
        let start = usize::from(self.fcws_start);
        start..start.saturating_add(usize::from(self.fcws_count))
    }
}

/// An extended attribute of one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extended {
    /// The cell, from 0.
    pub address: u16,
    /// `01` primary, `03` colour, `05` ideographic.
    pub kind: u8,
    /// The attribute.
    pub value: u8,
}

/// What a host waits for: the fields that go with the next AID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Read {
    /// All input fields, one after the other, if one of them is modified (READ INPUT FIELDS).
    InputFields,
    /// The modified fields, each with its address (READ MDT FIELDS).
    MdtFields,
    /// The same, nulls kept (READ MDT ALTERNATE).
    MdtAlternate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    bytes: [u8; HEADER_MAX],
    length: u8,
}

impl Screen {
    /// A cleared display of 24 rows and 80 columns.
    #[must_use]
    pub fn new() -> Self {
        let (rows, columns) = SMALL;
        Self {
            cells: blank(rows, columns),
            extended: Vec::new(),
            fields: Vec::new(),
            fcws: Vec::new(),
            error_line: Vec::new(),
            header: None,
            pending: None,
            home: None,
            cursor: None,
            address: 0,
            rows,
            columns,
            in_error_line: false,
            known: true,
            exact: true,
        }
    }

    /// Does what `token` says. An order that does not fit the display is refused, as clients refuse it.
    ///
    /// # Errors
    ///
    /// What does not fit; the offset is the buffer address, not a place in the record. The image is unknown after it.
    pub fn apply(&mut self, token: &Token<'_>) -> Result<(), Error> {
        let done = self.try_apply(token);
        if done.is_err() {
            self.forget();
        }
        done
    }

    /// Parses `data`, a record's content after its header, and applies each token.
    ///
    /// # Errors
    ///
    /// What cannot be parsed or does not fit. The image is unknown after it.
    pub fn apply_data(&mut self, data: &[u8]) -> Result<(), Error> {
        for token in Tokens::new(data) {
            match token {
                Ok(token) => self.apply(&token)?,
                Err(error) => {
                    self.forget();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Rows, 24 or 27.
    #[must_use]
    pub const fn rows(&self) -> u8 {
        self.rows
    }

    /// Columns, 80 or 132.
    #[must_use]
    pub const fn columns(&self) -> u8 {
        self.columns
    }

    /// All cells, row after row.
    #[must_use]
    pub const fn cells(&self) -> &[u8] {
        &self.cells
    }

    /// The cells of `row`, from 1; empty if there is no such row.
    #[must_use]
    pub fn row(&self, row: u8) -> &[u8] {
        let columns = usize::from(self.columns);
        let start = usize::from(row.wrapping_sub(1)).saturating_mul(columns);
        self.cells.get(start..start.saturating_add(columns)).unwrap_or_default()
    }

    /// The text of `row`, from 1, one character for each cell: attributes, nulls, control characters and what is not
    /// displayed are blanks.
    #[must_use]
    pub fn row_text(&self, row: u8, page: CodePage) -> String {
        let mut attribute = self.address_of(row, 1).map_or(NORMAL, |address| self.attribute_at(address));
        let show = |cell: &u8| {
            if is_attribute(*cell) {
                attribute = *cell;
            }
            if *cell < 0x41 || *cell == 0xFF || is_hidden_attribute(attribute) { ' ' } else { page.decode(*cell) }
        };
        self.row(row).iter().map(show).collect()
    }

    /// The extended attributes that were set, in the order of their cells.
    #[must_use]
    pub fn extended(&self) -> &[Extended] {
        &self.extended
    }

    /// The format table, in the order in which the fields came.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The field control words of `field`.
    #[must_use]
    pub fn fcws(&self, field: &Field) -> &[u16] {
        self.fcws.get(field.fcws_range()).unwrap_or_default()
    }

    /// The cells of `field`. For a hidden field that is what the host put there, never what the operator keyed.
    #[must_use]
    pub fn field_data(&self, field: &Field) -> &[u8] {
        self.cells.get(field.range()).unwrap_or_default()
    }

    /// The place in [`fields`](Self::fields) of the field that starts at this cell or else holds it.
    #[must_use]
    pub fn index_at(&self, row: u8, column: u8) -> Option<usize> {
        let address = self.address_of(row, column)?;
        let starts = self.fields.iter().position(|field| field.address == address);
        starts.or_else(|| self.fields.iter().position(|field| field.range().contains(&usize::from(address))))
    }

    /// The field that starts at this cell or else holds it.
    #[must_use]
    pub fn field_at(&self, row: u8, column: u8) -> Option<&Field> {
        self.fields.get(self.index_at(row, column)?)
    }

    /// Puts what the operator keyed into a field, padded with nulls, cut at its length, and marks it modified.
    ///
    /// The cells of a hidden field stay as they are: what is keyed there never comes into the image.
    /// Says whether there is such a field.
    pub fn set_field_data(&mut self, index: usize, data: &[u8]) -> bool {
        let Some(field) = self.fields.get(index).copied() else {
            return false;
        };
        if !self.is_hidden(&field)
            && let Some(cells) = self.cells.get_mut(field.range())
        {
            let mut data = data.iter();
            cells.fill_with(|| data.next().copied().unwrap_or(0));
        }
        if let Some(field) = self.fields.get_mut(index) {
            field.ffw |= Field::MDT;
        }
        true
    }

    /// Whether what stands in `field` is not displayed, judged by the attribute in force where it starts: hosts rewrite
    /// attributes after START OF FIELD.
    #[must_use]
    pub fn is_hidden(&self, field: &Field) -> bool {
        let before = field.address.checked_sub(1);
        let attribute = before.map_or(field.attribute, |before| self.attribute_at(before));
        is_hidden_attribute(attribute)
    }

    /// The attribute in force at a cell: its own if it is one, else the last one before it.
    #[must_use]
    pub fn attribute_at(&self, address: u16) -> u8 {
        let until = self.cells.get(..=usize::from(address)).unwrap_or(&self.cells);
        until.iter().rev().copied().find(|cell| is_attribute(*cell)).unwrap_or(NORMAL)
    }

    /// Row and column, from 1, of a cell.
    #[must_use]
    pub fn place(&self, address: u16) -> (u8, u8) {
        let columns = u16::from(self.columns).max(1);
        let row = address.checked_div(columns).unwrap_or(0).saturating_add(1);
        let column = address.checked_rem(columns).unwrap_or(0).saturating_add(1);
        (u8::try_from(row).unwrap_or(u8::MAX), u8::try_from(column).unwrap_or(u8::MAX))
    }

    /// The cell at row and column, from 1.
    #[must_use]
    pub fn address_of(&self, row: u8, column: u8) -> Option<u16> {
        if row > self.rows || column > self.columns {
            return None;
        }
        let before = u16::from(row.checked_sub(1)?).checked_mul(u16::from(self.columns))?;
        before.checked_add(u16::from(column.checked_sub(1)?))
    }

    /// Where the host has the cursor: its MOVE CURSOR or INSERT CURSOR, else the first field that can be keyed into,
    /// else the first cell.
    #[must_use]
    pub fn cursor(&self) -> (u8, u8) {
        let first = || self.fields.iter().find(|field| !field.is_bypass()).map(|field| self.place(field.address));
        self.cursor.or(self.home).or_else(first).unwrap_or((1, 1))
    }

    /// The buffer address: the cell that the next byte goes to. After SBA row 1, column 0 it is `u16::MAX`.
    #[must_use]
    pub const fn address(&self) -> u16 {
        self.address
    }

    /// The place of the last INSERT CURSOR.
    #[must_use]
    pub const fn home(&self) -> Option<(u8, u8)> {
        self.home
    }

    /// The START OF HEADER in force.
    #[must_use]
    pub fn header(&self) -> Option<&[u8]> {
        self.header.as_ref().map(|header| header.bytes.get(..usize::from(header.length)).unwrap_or_default())
    }

    /// The row that error messages cover.
    #[must_use]
    pub fn error_row(&self) -> u8 {
        let row = self.header().and_then(|header| header.get(3)).copied();
        row.filter(|row| (1..=self.rows).contains(row)).unwrap_or(self.rows)
    }

    /// What WRITE ERROR CODE put over the error row, until the next write.
    #[must_use]
    pub fn error_line(&self) -> &[u8] {
        &self.error_line
    }

    /// The read that waits for the operator, until the display is cleared or [`answered`](Self::answered).
    #[must_use]
    pub const fn pending_read(&self) -> Option<Read> {
        self.pending
    }

    /// Ends the pending read: the operator's record went to the host, or the host cancelled it.
    pub const fn answered(&mut self) -> Option<Read> {
        self.pending.take()
    }

    /// Whether the image is what the client shows, as far as the host can know.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.known
    }

    /// Whether the image is all that the client shows: no windows, selection fields or the like were drawn, which are
    /// not part of the image.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.known && self.exact
    }

    /// Makes the image unknown, until the display is cleared.
    pub fn forget(&mut self) {
        self.known = false;
        self.pending = None;
        self.in_error_line = false;
    }

    fn try_apply(&mut self, token: &Token<'_>) -> Result<(), Error> {
        match *token {
            Token::Text(bytes) if self.in_error_line => {
                let room = usize::from(self.columns).saturating_sub(self.error_line.len());
                self.error_line.extend(bytes.iter().take(room));
            }
            Token::Text(bytes) | Token::TransparentData(bytes) => self.put(bytes)?,
            Token::SetBufferAddress { row: 1, column: 0 } => {
                self.not_in_error_line()?;
                self.address = BEFORE;
            }
            Token::SetBufferAddress { row, column } => {
                self.not_in_error_line()?;
                self.address = self.inside(row, column)?;
            }
            Token::StartField { ffw, fcws, attribute, length } => self.start_field(ffw, fcws, attribute, length)?,
            Token::RepeatToAddress { row, column, byte } => self.fill(row, column, byte)?,
            Token::EraseToAddress { row, column, kinds } => self.erase(row, column, kinds)?,
            Token::StartOfHeader(bytes) => self.start_header(bytes)?,
            Token::InsertCursor { row, column } => {
                self.inside(row, column)?;
                if self.in_error_line {
                    self.cursor = Some((row, column));
                } else {
                    self.home = Some((row, column));
                    self.cursor = None;
                }
            }
            Token::MoveCursor { row, column } => {
                self.inside(row, column)?;
                self.cursor = Some((row, column));
            }
            Token::WriteExtendedAttribute { kind, value } => self.extend(kind, value)?,
            Token::WriteDisplayStructuredField { .. } => {
                self.not_in_error_line()?;
                self.exact = false;
            }
            Token::ClearUnit => self.clear(SMALL),
            Token::ClearUnitAlternate(0x00) => self.clear(LARGE),
            Token::ClearUnitAlternate(0x80) => self.clear((self.rows, self.columns)),
            Token::ClearUnitAlternate(_) => return Err(self.error("display size")),
            Token::ClearFormatTable => {
                self.in_error_line = false;
                self.clear_fields();
            }
            Token::WriteToDisplay { cc1, cc2 } => {
                self.in_error_line = false;
                self.error_line.clear();
                self.control(cc1);
                if cc2 & 0x40 == 0 {
                    self.cursor = None;
                }
            }
            Token::WriteErrorCode | Token::WriteErrorCodeToWindow { .. } => {
                self.error_line.clear();
                self.in_error_line = true;
            }
            Token::ReadInputFields { cc1, .. } => self.read(Read::InputFields, cc1),
            Token::ReadMdtFields { cc1, .. } => self.read(Read::MdtFields, cc1),
            Token::ReadMdtAlternate { cc1, .. } => self.read(Read::MdtAlternate, cc1),
            Token::Roll { direction, top, bottom } => self.roll(direction, top, bottom)?,
            Token::RestoreScreen(_) | Token::RestorePartialScreen(_) => self.forget(),
            Token::WriteStructuredField { kind, .. } | Token::NextStructuredField { kind, .. } => {
                self.in_error_line = false;
                if !matches!(kind, QUERY | QUERY_STATION_STATE) {
                    self.exact = false;
                }
            }
            Token::WriteSingleStructuredField { .. } => {
                self.in_error_line = false;
                self.exact = false;
            }
            Token::SaveScreen
            | Token::SavePartialScreen(_)
            | Token::CopyToPrinter(_)
            | Token::ReadScreen
            | Token::ReadScreenExtended
            | Token::ReadScreenToPrint(_)
            | Token::ReadImmediate
            | Token::ReadModifiedImmediateAlternate => self.in_error_line = false,
        }
        Ok(())
    }

    fn clear(&mut self, (rows, columns): (u8, u8)) {
        if (self.rows, self.columns) == (rows, columns) {
            self.cells.fill(0);
        } else {
            (self.rows, self.columns) = (rows, columns);
            self.cells = blank(rows, columns);
        }
        self.extended = Vec::new();
        self.error_line = Vec::new();
        self.clear_fields();
        self.pending = None;
        self.address = 0;
        self.in_error_line = false;
        self.known = true;
        self.exact = true;
    }

    fn clear_fields(&mut self) {
        self.fields.clear();
        self.fcws.clear();
        self.header = None;
        self.home = None;
        self.cursor = None;
    }

    fn start_header(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.not_in_error_line()?;
        let mut header = Header { bytes: [0; HEADER_MAX], length: 0 };
        let Some(target) = header.bytes.get_mut(..bytes.len()) else {
            return Err(self.error("header length"));
        };
        target.copy_from_slice(bytes);
        header.length = u8::try_from(bytes.len()).unwrap_or(0);
        self.clear_fields();
        self.header = Some(header);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.not_in_error_line()?;
        let start = usize::from(self.address);
        let end = start.saturating_add(bytes.len());
        let (Some(cells), Ok(end)) = (self.cells.get_mut(start..end), u16::try_from(end)) else {
            return Err(self.error("write past the end of the display"));
        };
        cells.copy_from_slice(bytes);
        self.address = end;
        Ok(())
    }

    /// The cells from the buffer address through a place, which becomes the buffer address, plus one.
    fn through(&mut self, row: u8, column: u8) -> Result<core::ops::Range<usize>, Error> {
        self.not_in_error_line()?;
        let last = self.inside(row, column)?;
        if last < self.address {
            return Err(self.error("address before the buffer address"));
        }
        let start = usize::from(self.address);
        self.address = last.saturating_add(1);
        Ok(start..usize::from(self.address))
    }

    fn fill(&mut self, row: u8, column: u8, byte: u8) -> Result<(), Error> {
        let range = self.through(row, column)?;
        if let Some(cells) = self.cells.get_mut(range) {
            cells.fill(byte);
        }
        Ok(())
    }

    fn erase(&mut self, row: u8, column: u8, kinds: &[u8]) -> Result<(), Error> {
        let range = self.through(row, column)?;
        let all = kinds.contains(&0xFF);
        self.extended.retain(|extended| {
            !range.contains(&usize::from(extended.address)) || !(all || kinds.contains(&extended.kind))
        });
        if (all || kinds.contains(&0) || kinds.is_empty())
            && let Some(cells) = self.cells.get_mut(range)
        {
            cells.fill(0);
        }
        Ok(())
    }

    fn extend(&mut self, kind: u8, value: u8) -> Result<(), Error> {
        self.not_in_error_line()?;
        if !matches!(kind, 0x01 | 0x03 | 0x05) {
            return Err(self.error("extended attribute"));
        }
        if usize::from(self.address) >= self.cells.len() {
            return Err(self.error("write past the end of the display"));
        }
        let new = Extended { address: self.address, kind, value };
        match self.extended.binary_search_by_key(&(self.address, kind), |old| (old.address, old.kind)) {
            Ok(index) => {
                if let Some(old) = self.extended.get_mut(index) {
                    *old = new;
                }
            }
            Err(index) => self.extended.insert(index, new),
        }
        Ok(())
    }

    fn start_field(&mut self, ffw: Option<u16>, fcws: &[u8], attribute: u8, length: u16) -> Result<(), Error> {
        if self.address == BEFORE {
            self.not_in_error_line()?;
            self.address = 0;
        } else {
            self.put(&[attribute])?;
        }
        let Some(ffw) = ffw else {
            return Ok(());
        };
        let address = self.address;
        let end = usize::from(address).saturating_add(usize::from(length));
        if end > self.cells.len() {
            return Err(self.error("field past the end of the display"));
        }
        self.insert_field(Field { address, length, ffw, fcws_start: 0, attribute, fcws_count: 0 }, fcws)?;
        if let Some(cell) = self.cells.get_mut(end) {
            *cell = NORMAL;
        }
        Ok(())
    }

    /// Appends a field, or replaces the one that starts at the same cell.
    fn insert_field(&mut self, mut field: Field, fcws: &[u8]) -> Result<(), Error> {
        let words =
            || fcws.chunks_exact(2).map(|word| word.iter().fold(0_u16, |high, low| high << 8 | u16::from(*low)));
        let count = words().count();
        let ascending = self.fields.last().is_none_or(|last| last.address < field.address);
        let old = self.fields.iter().position(|old| !ascending && old.address == field.address);
        let other = self.fcws.len().saturating_sub(old.map_or(0, |old| self.fcws_of(old).len()));
        let room = old.is_some() || self.fields.len() < FIELDS_MAX;
        let (Ok(count_byte), true, true) =
            (u8::try_from(count), room, other.saturating_add(count) <= usize::from(u16::MAX))
        else {
            return Err(self.error("format table full"));
        };
        field.fcws_count = count_byte;
        let Some(index) = old else {
            field.fcws_start = u16::try_from(self.fcws.len()).unwrap_or(u16::MAX);
            self.fcws.extend(words());
            self.fields.push(field);
            return Ok(());
        };
        let range = self.fcws_of(index);
        field.fcws_start = u16::try_from(range.start).unwrap_or(u16::MAX);
        self.fcws.splice(range, words());
        if let Some(slot) = self.fields.get_mut(index) {
            *slot = field;
        }
        let mut start = 0_u16;
        for field in &mut self.fields {
            field.fcws_start = start;
            start = start.saturating_add(u16::from(field.fcws_count));
        }
        Ok(())
    }

    fn fcws_of(&self, index: usize) -> core::ops::Range<usize> {
        self.fields.get(index).map_or(0..0, Field::fcws_range)
    }

    /// The first control character: MDT bits and contents of fields.
    fn control(&mut self, cc1: u8) {
        let (reset, reset_bypass, null, null_unmodified) = match cc1 & 0xE0 {
            0x40 => (true, false, false, false),
            0x60 => (true, true, false, false),
            0x80 => (false, false, true, false),
            0xA0 => (true, false, true, true),
            0xC0 => (true, false, true, false),
            0xE0 => (true, true, true, true),
            _ => return,
        };
        for field in &mut self.fields {
            if null
                && !field.is_bypass()
                && (field.is_modified() || null_unmodified)
                && let Some(cells) = self.cells.get_mut(field.range())
            {
                cells.fill(0);
            }
            if reset && (reset_bypass || !field.is_bypass()) {
                field.ffw &= !Field::MDT;
            }
        }
    }

    fn read(&mut self, read: Read, cc1: u8) {
        self.in_error_line = false;
        self.control(cc1);
        self.pending = Some(read);
    }

    /// Moves rows; those that nothing moves into stay as they are, and so does the format table.
    fn roll(&mut self, direction: u8, top: u8, bottom: u8) -> Result<(), Error> {
        self.in_error_line = false;
        let columns = usize::from(self.columns);
        if top == 0 || bottom < top || bottom > self.rows {
            return Err(self.error("roll"));
        }
        let start = usize::from(top.saturating_sub(1)).saturating_mul(columns);
        let end = usize::from(bottom).saturating_mul(columns);
        let by = usize::from(direction & 0x1F).saturating_mul(columns);
        let length = end.saturating_sub(start).saturating_sub(by);
        if by == 0 || length == 0 {
            return Ok(());
        }
        let down = direction & 0x80 != 0;
        let (from, to) = if down { (start, start.saturating_add(by)) } else { (start.saturating_add(by), start) };
        self.cells.copy_within(from..from.saturating_add(length), to);
        if !self.extended.is_empty() {
            self.roll_extended(from..from.saturating_add(length), to..to.saturating_add(length));
        }
        Ok(())
    }

    fn roll_extended(&mut self, from: core::ops::Range<usize>, to: core::ops::Range<usize>) {
        let moved = self.extended.iter().filter(|old| from.contains(&usize::from(old.address))).filter_map(|old| {
            let address = usize::from(old.address).checked_sub(from.start)?.checked_add(to.start)?;
            Some(Extended { address: u16::try_from(address).ok()?, ..*old })
        });
        let moved: Vec<Extended> = moved.collect();
        self.extended.retain(|old| !to.contains(&usize::from(old.address)));
        self.extended.extend(moved);
        self.extended.sort_unstable();
    }

    fn inside(&self, row: u8, column: u8) -> Result<u16, Error> {
        self.address_of(row, column).ok_or_else(|| self.error("address outside the display"))
    }

    const fn not_in_error_line(&self) -> Result<(), Error> {
        if self.in_error_line { Err(self.error("order in an error line")) } else { Ok(()) }
    }

    const fn error(&self, what: &'static str) -> Error {
        Error { what, offset: self.address as usize }
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

/// Equal are images that look alike and take the same input: not compared are buffer address, pending read, error line
/// and a cursor that was moved for once.
impl PartialEq for Screen {
    fn eq(&self, other: &Self) -> bool {
        self.columns == other.columns
            && self.cells == other.cells
            && self.extended == other.extended
            && self.fields == other.fields
            && self.fcws == other.fcws
            && self.header == other.header
            && self.home == other.home
    }
}

impl Eq for Screen {}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, columns, fields, known, exact, pending, .. } = self;
        write!(f, "Screen({rows}x{columns}, {} fields, known {known}, exact {exact}, {pending:?})", fields.len())
    }
}

/// Whether an attribute keeps text from being displayed.
#[must_use]
pub const fn is_hidden_attribute(attribute: u8) -> bool {
    is_attribute(attribute) && attribute & 0x07 == 0x07
}

fn blank(rows: u8, columns: u8) -> Box<[u8]> {
    vec![0; usize::from(rows).saturating_mul(usize::from(columns))].into_boxed_slice()
}
