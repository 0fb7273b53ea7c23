//! The display as it is seen: characters with colours; drawn as plain text, with ANSI sequences, or as an SVG document.
//!
//! Attribute bytes 20-3F rule all cells up to the next one, across rows (5250 Functions Reference, "Screen attributes");
//! a non-display cell is a blank here, so no drawing can show what a hidden field holds.

use core::fmt::Write as _;

use super::display::Display;

/// The colours of a 5250 colour display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Normal.
    Green,
    /// High intensity.
    White,
    /// Red.
    Red,
    /// Turquoise.
    Turquoise,
    /// Yellow.
    Yellow,
    /// Pink.
    Pink,
    /// Blue.
    Blue,
}

/// How a cell looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// The colour.
    pub colour: Colour,
    /// Colour and background exchanged.
    pub reverse: bool,
    /// Underlined.
    pub underline: bool,
    /// Blinking.
    pub blink: bool,
    /// Not shown.
    pub hidden: bool,
}

impl Style {
    /// The style of an attribute byte, 20 to 3F.
    #[must_use]
    pub const fn of(attribute: u8) -> Self {
        let low = attribute & 0x07;
        let (white, red, turquoise, pink) = (0x20, 0x28, 0x30, 0x38);
        let colour = match (attribute & 0x38, low) {
            (row, 2 | 3 | 6) if row == white => Colour::White,
            (row, _) if row == white => Colour::Green,
            (row, _) if row == red => Colour::Red,
            (row, 2 | 3 | 6) if row == turquoise => Colour::Yellow,
            (row, _) if row == turquoise => Colour::Turquoise,
            (row, 2 | 3 | 6) if row == pink => Colour::Blue,
            _ => Colour::Pink,
        };
        Self {
            colour,
            reverse: low & 1 != 0,
            underline: low >= 4,
            blink: attribute & 0x38 == red && matches!(low, 2 | 3 | 6),
            hidden: low == 7,
        }
    }
}

/// A run of cells of one look in one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The first cell's column, from 0.
    pub column: usize,
    /// The characters.
    pub text: String,
    /// How they look.
    pub style: Style,
}

/// The display as it is seen.
#[derive(Debug, Clone)]
pub struct Picture {
    columns: usize,
    rows: Vec<Vec<Run>>,
    cursor: (u8, u8),
}

impl Picture {
    /// Looks at a display.
    #[must_use]
    pub fn of(display: &Display) -> Self {
        let screen = display.screen();
        let columns = usize::from(screen.columns());
        let mut attribute = 0x20;
        let mut rows = Vec::new();
        for (number, cells) in screen.cells().chunks(columns).enumerate() {
            let mut runs: Vec<Run> = Vec::new();
            let error = display.error_line().filter(|(row, _)| usize::from(*row) == number + 1);
            let mut covered = error.map(|(_, line)| line.iter().copied());
            // The error line has attributes of its own, which end with it.
            let mut cover = 0x20;
            for (column, &cell) in cells.iter().enumerate() {
                if matches!(cell, 0x20..=0x3F) {
                    attribute = cell;
                }
                let (cell, attribute) = match &mut covered {
                    Some(line) => {
                        let cell = line.next().unwrap_or(0x40);
                        if matches!(cell, 0x20..=0x3F) {
                            cover = cell;
                        }
                        (cell, cover)
                    }
                    None => (cell, attribute),
                };
                let is_attribute = matches!(cell, 0x20..=0x3F);
                let style = if is_attribute { Style::of(0x20) } else { Style::of(attribute) };
                let character = if is_attribute || style.hidden { ' ' } else { character(cell, display) };
                match runs.last_mut() {
                    Some(run) if run.style == style => run.text.push(character),
                    Some(_) | None => runs.push(Run { column, text: character.into(), style }),
                }
            }
            rows.push(runs);
        }
        Self { columns, rows, cursor: display.cursor() }
    }

    /// The number of columns.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// The rows, each as its runs.
    #[must_use]
    pub fn rows(&self) -> &[Vec<Run>] {
        &self.rows
    }

    /// The cursor's row and column, from 1.
    #[must_use]
    pub const fn cursor(&self) -> (u8, u8) {
        self.cursor
    }

    /// The characters alone, one line per row, no blanks at line ends.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for runs in &self.rows {
            let line: String = runs.iter().map(|run| run.text.as_str()).collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// One row for a terminal; with ANSI sequences where `colours` is set.
    #[must_use]
    pub fn row(&self, row: usize, colours: bool) -> String {
        let mut text = String::new();
        for run in self.rows.get(row).into_iter().flatten() {
            if colours {
                let _ = write!(text, "\x1b[0;{}", ansi(run.style.colour));
                text.push_str(if run.style.reverse { ";7" } else { "" });
                text.push_str(if run.style.underline && !run.style.hidden { ";4" } else { "" });
                text.push_str(if run.style.blink { ";5" } else { "" });
                text.push('m');
            }
            text.push_str(&run.text);
        }
        if colours {
            text.push_str("\x1b[0m");
        }
        text
    }

    /// All rows in a frame, for a terminal or a file.
    #[must_use]
    pub fn framed(&self, colours: bool) -> String {
        let bar = "─".repeat(self.columns);
        let mut text = format!("┌{bar}┐\n");
        for row in 0..self.rows.len() {
            let _ = writeln!(text, "│{}│", self.row(row, colours));
        }
        let _ = writeln!(text, "└{bar}┘");
        text
    }

    /// The display as an SVG document with `title` in its window bar.
    #[must_use]
    pub fn svg(&self, title: &str) -> String {
        const CELL: f32 = 9.0;
        const LINE: f32 = 19.0;
        const EDGE: f32 = 14.0;
        const BAR: f32 = 30.0;
        let at = |cells: usize, size: f32| f32::from(u16::try_from(cells).unwrap_or(u16::MAX)) * size;
        let width = at(self.columns, CELL) + 2.0 * EDGE;
        let height = at(self.rows.len(), LINE) + 2.0 * EDGE + BAR;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"15\">\n\
             <title>{title}</title>\n\
             <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#101418\"/>\n\
             <rect width=\"{width}\" height=\"{BAR}\" rx=\"8\" fill=\"#2a3138\"/>\n\
             <text x=\"{EDGE}\" y=\"20\" fill=\"#c8d0d8\" font-size=\"13\">{title}</text>\n",
            title = escape(title)
        );
        for (row, runs) in self.rows.iter().enumerate() {
            let y = BAR + EDGE + at(row, LINE);
            for run in runs {
                let x = EDGE + at(run.column, CELL);
                let run_width = at(run.text.chars().count(), CELL);
                let colour = hex(run.style.colour);
                let shown = !run.style.hidden;
                if run.style.reverse && shown {
                    let _ = writeln!(
                        svg,
                        "<rect x=\"{x}\" y=\"{y}\" width=\"{run_width}\" height=\"{LINE}\" fill=\"{colour}\"/>"
                    );
                } else if run.style.underline && shown {
                    let under = y + LINE - 2.0;
                    let end = x + run_width;
                    let _ = writeln!(
                        svg,
                        "<line x1=\"{x}\" y1=\"{under}\" x2=\"{end}\" y2=\"{under}\" stroke=\"{colour}\"/>"
                    );
                }
                let kept = run.text.trim_end();
                let lead = kept.chars().take_while(|character| *character == ' ').count();
                let kept = kept.trim_start();
                if kept.is_empty() {
                    continue;
                }
                let (x, base) = (x + at(lead, CELL), y + LINE - 5.0);
                let length = at(kept.chars().count(), CELL);
                let fill = if run.style.reverse { "#101418" } else { colour };
                let _ = writeln!(
                    svg,
                    "<text x=\"{x}\" y=\"{base}\" fill=\"{fill}\" textLength=\"{length}\" xml:space=\"preserve\">{}</text>",
                    escape(kept)
                );
            }
        }
        let (row, column) = self.cursor;
        let x = EDGE + at(usize::from(column.saturating_sub(1)), CELL);
        let y = BAR + EDGE + at(usize::from(row), LINE) - 3.0;
        let _ = writeln!(svg, "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"3\" fill=\"#ffffff\"/>");
        svg.push_str("</svg>\n");
        svg
    }
}

fn character(cell: u8, display: &Display) -> char {
    match cell {
        0x1C => '*',
        0x1E => ';',
        0x00..=0x3F | 0xFF => ' ',
        _ => match display.page().decode(cell) {
            character if character.is_control() => ' ',
            character => character,
        },
    }
}

const fn ansi(colour: Colour) -> u8 {
    match colour {
        Colour::Green => 32,
        Colour::White => 97,
        Colour::Red => 91,
        Colour::Turquoise => 96,
        Colour::Yellow => 93,
        Colour::Pink => 95,
        Colour::Blue => 94,
    }
}

const fn hex(colour: Colour) -> &'static str {
    match colour {
        Colour::Green => "#33d17a",
        Colour::White => "#ffffff",
        Colour::Red => "#ff6b6b",
        Colour::Turquoise => "#4fd6e0",
        Colour::Yellow => "#f6d32d",
        Colour::Pink => "#e39bff",
        Colour::Blue => "#78aeff",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_the_looks_of_the_functions_reference() {
        for (attribute, colour, reverse, underline, blink, hidden) in [
            (0x20, Colour::Green, false, false, false, false),
            (0x21, Colour::Green, true, false, false, false),
            (0x22, Colour::White, false, false, false, false),
            (0x24, Colour::Green, false, true, false, false),
            (0x26, Colour::White, false, true, false, false),
            (0x27, Colour::Green, true, true, false, true),
            (0x28, Colour::Red, false, false, false, false),
            (0x2A, Colour::Red, false, false, true, false),
            (0x30, Colour::Turquoise, false, false, false, false),
            (0x32, Colour::Yellow, false, false, false, false),
            (0x36, Colour::Yellow, false, true, false, false),
            (0x38, Colour::Pink, false, false, false, false),
            (0x3A, Colour::Blue, false, false, false, false),
            (0x3F, Colour::Pink, true, true, false, true),
        ] {
            let expected = Style { colour, reverse, underline, blink, hidden };
            assert_eq!(Style::of(attribute), expected, "{attribute:02X}");
        }
    }
}
