//! The data stream that makes an image anew.
//!
//! Source: the same as [`crate::screen`]'s. Fields come first, in the order of the format table, because each puts an
//! attribute before and behind itself; then every cell that differs from what the fields have painted.

use super::{LARGE, NORMAL, Screen, blank};
use crate::display::{Token, is_text};

impl Screen {
    /// The data stream, without header and without READ, that makes this image on any client, whatever it shows.
    ///
    /// The keyboard stays locked. Cells of hidden fields are left out. What is not [exact](Self::is_exact) comes out
    /// as far as it is known.
    #[must_use]
    pub fn repaint(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.cells.len());
        let clear = if self.columns == LARGE.1 { Token::ClearUnitAlternate(0) } else { Token::ClearUnit };
        clear.write_to(&mut out);
        Token::WriteToDisplay { cc1: 0, cc2: 0 }.write_to(&mut out);
        if let Some(header) = self.header() {
            Token::StartOfHeader(header).write_to(&mut out);
        }
        let painted = self.repaint_fields(&mut out);
        self.repaint_cells(&painted, &mut out);
        for extended in &self.extended {
            self.write_address(extended.address, &mut out);
            Token::WriteExtendedAttribute { kind: extended.kind, value: extended.value }.write_to(&mut out);
        }
        if let Some((row, column)) = self.home {
            Token::InsertCursor { row, column }.write_to(&mut out);
        }
        out
    }

    /// Writes the fields; gives what the cells are after that on the client, hidden contents taken for painted.
    fn repaint_fields(&self, out: &mut Vec<u8>) -> Box<[u8]> {
        let mut painted = blank(self.rows, self.columns);
        for field in &self.fields {
            let fcws: Vec<u8> = self.fcws(field).iter().flat_map(|word| word.to_be_bytes()).collect();
            match field.address.checked_sub(1) {
                Some(address) => self.write_address(address, out),
                None => Token::SetBufferAddress { row: 1, column: 0 }.write_to(out),
            }
            let (attribute, length) = (field.attribute, field.length);
            Token::StartField { ffw: Some(field.ffw), fcws: &fcws, attribute, length }.write_to(out);
            let range = field.range();
            if let Some(cell) = range.start.checked_sub(1).and_then(|before| painted.get_mut(before)) {
                *cell = attribute;
            }
            if let Some(cell) = painted.get_mut(range.end) {
                *cell = NORMAL;
            }
        }
        for field in self.fields.iter().filter(|field| !field.is_bypass() && self.is_hidden(field)) {
            if let (Some(to), Some(from)) = (painted.get_mut(field.range()), self.cells.get(field.range())) {
                to.copy_from_slice(from);
            }
        }
        painted
    }

    /// Writes the cells that differ from `painted`.
    fn repaint_cells(&self, painted: &[u8], out: &mut Vec<u8>) {
        let mut next = None;
        let mut cells = self.cells.iter().zip(painted).zip(0_u16..).peekable();
        while let Some(((cell, painted), address)) = cells.next() {
            if cell == painted {
                continue;
            }
            if next != Some(address) {
                self.write_address(address, out);
            }
            let text = is_text(*cell);
            let mut run = vec![*cell];
            while let Some(((cell, _), _)) =
                cells.next_if(|((cell, painted), _)| cell != painted && is_text(**cell) == text)
            {
                run.push(*cell);
            }
            next = u16::try_from(run.len()).ok().and_then(|length| address.checked_add(length));
            if text { Token::Text(&run) } else { Token::TransparentData(&run) }.write_to(out);
        }
    }

    fn write_address(&self, address: u16, out: &mut Vec<u8>) {
        let (row, column) = self.place(address);
        Token::SetBufferAddress { row, column }.write_to(out);
    }
}
