//! The displays of the simulated host, as bytes of the 5250 data stream (RFC 1205, section 5; 5250 Functions Reference).
//!
//! The bytes are put together here by hand, not by the gateway's codec: what one side misunderstands the other side shows.

use proxy_tn5250::ebcdic::CodePage;

/// Attributes.
pub(super) mod attribute {
    pub(crate) const GREEN: u8 = 0x20;
    pub(crate) const WHITE: u8 = 0x22;
    pub(crate) const UNDERLINED: u8 = 0x24;
    pub(crate) const HIDDEN: u8 = 0x27;
    pub(crate) const TURQUOISE: u8 = 0x30;
    pub(crate) const BLUE: u8 = 0x3A;
    pub(crate) const REVERSED: u8 = 0x21;
}

/// Field format words.
pub(super) mod format {
    /// Any character.
    pub(crate) const MIXED: u16 = 0x4000;
    /// Any character, folded to upper case.
    pub(crate) const UPPER: u16 = 0x4020;
    /// The command line: the Dup key works.
    pub(crate) const COMMAND: u16 = 0x5000;
}

/// How a display begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// CLEAR UNIT: empty, 24x80.
    Clear,
    /// CLEAR UNIT ALTERNATE: empty, 27x132.
    ClearWide,
    /// Blanks written over everything, as an application does that never clears the screen.
    Overwrite,
    /// Nothing: what is there stays, fields included.
    Keep,
}

/// A display that is being put together.
pub(super) struct Sheet {
    data: Vec<u8>,
}

impl Sheet {
    /// Begins a display; `unlock` is the second control character of the write.
    pub(super) fn new(start: Start) -> Self {
        let mut data = Vec::new();
        match start {
            Start::Clear => data.extend([0x04, 0x40]),
            Start::ClearWide => data.extend([0x04, 0x20, 0x00]),
            Start::Overwrite | Start::Keep => {}
        }
        data.extend([0x04, 0x11, 0x00, 0x18]);
        match start {
            // Start of header: no masked keys, errors on the last row.
            Start::Clear | Start::Overwrite => data.extend([0x01, 0x07, 0, 0, 0, 24, 0, 0, 0]),
            Start::ClearWide => data.extend([0x01, 0x07, 0, 0, 0, 27, 0, 0, 0]),
            Start::Keep => {}
        }
        if start == Start::Overwrite {
            // Address 1,1 and REPEAT TO ADDRESS 24,80 with nulls.
            data.extend([0x11, 1, 1, 0x02, 24, 80, 0x00]);
        }
        Self { data }
    }

    /// Sets the address.
    pub(super) fn at(&mut self, row: u8, column: u8) -> &mut Self {
        self.data.extend([0x11, row, column]);
        self
    }

    /// Writes an attribute and a text; the attribute's cell is at `column`, and another attribute ends the text.
    pub(super) fn text(&mut self, row: u8, column: u8, attribute: u8, text: &str) -> &mut Self {
        self.at(row, column);
        self.data.push(attribute);
        self.data.extend(CodePage::CP037.encode_all(text));
        self.data.push(attribute::GREEN);
        self
    }

    /// Writes a text that reaches into the last column, where no ending attribute has room.
    pub(super) fn line(&mut self, row: u8, column: u8, attribute: u8, text: &str) -> &mut Self {
        self.at(row, column);
        self.data.push(attribute);
        self.data.extend(CodePage::CP037.encode_all(text));
        self
    }

    /// Starts an input field with its attribute at `column`; the first data cell is the next one.
    pub(super) fn field(&mut self, row: u8, column: u8, word: u16, attribute: u8, length: u16) -> &mut Self {
        self.at(row, column);
        self.data.push(0x1D);
        self.data.extend(word.to_be_bytes());
        self.data.push(attribute);
        self.data.extend(length.to_be_bytes());
        self
    }

    /// Fills the next `length` cells, nulls behind the text; where the row's end does not matter.
    pub(super) fn content(&mut self, text: &str, length: usize) -> &mut Self {
        let mut cells = CodePage::CP037.encode_all(text);
        cells.resize(length, 0x00);
        self.data.extend(cells);
        self
    }

    /// Bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.data.extend_from_slice(bytes);
        self
    }

    /// Ends the display with READ MDT FIELDS.
    pub(super) fn read(&mut self) -> Vec<u8> {
        self.data.extend([0x04, 0x52, 0x00, 0x00]);
        core::mem::take(&mut self.data)
    }
}
