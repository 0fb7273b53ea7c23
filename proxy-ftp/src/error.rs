//! The one error of all parsers here: what was expected and at which byte, never the bytes themselves.
//!
//! Passwords and passcodes are in the lines that are parsed, so an error carries a fixed text and an offset only, and
//! nom is kept to the same rule.

use nom::Parser;
use nom::error::{ContextError, ErrorKind, ParseError};

/// Why bytes could not be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct Error {
    /// What is wrong, in words that contain nothing of the input.
    pub what: &'static str,
    /// Where, counted from the start of what was parsed.
    pub offset: usize,
}

impl Error {
    /// An error at `offset`.
    #[must_use]
    pub const fn new(what: &'static str, offset: usize) -> Self {
        Self { what, offset }
    }

    /// The same error in something longer, of which what was parsed is the part from `start` on.
    pub(crate) const fn behind(self, start: usize) -> Self {
        Self { what: self.what, offset: self.offset.saturating_add(start) }
    }
}

/// nom's error inside the parsers: how many bytes were left, and what was looked for. It never holds the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop {
    left: usize,
    what: &'static str,
}

impl ParseError<&[u8]> for Stop {
    fn from_error_kind(input: &[u8], kind: ErrorKind) -> Self {
        let what = if kind == ErrorKind::Eof { "unexpected end" } else { "unexpected byte" };
        Self { left: input.len(), what }
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

impl ContextError<&[u8]> for Stop {
    fn add_context(_: &[u8], context: &'static str, other: Self) -> Self {
        Self { what: context, ..other }
    }
}

/// Runs `parser` over the whole of `input`: all of it is consumed, or it is an error with its place.
pub(crate) fn whole<'a, T>(
    input: &'a [u8],
    parser: impl Parser<&'a [u8], Output = T, Error = Stop>,
) -> Result<T, Error> {
    let place = |left: usize| input.len().saturating_sub(left);
    match nom::combinator::complete(parser).parse(input) {
        Ok(([], value)) => Ok(value),
        Ok((rest, _)) => Err(Error::new("surplus bytes", place(rest.len()))),
        Err(nom::Err::Error(stop) | nom::Err::Failure(stop)) => Err(Error::new(stop.what, place(stop.left))),
        Err(nom::Err::Incomplete(_)) => Err(Error::new("unexpected end", input.len())),
    }
}

#[cfg(test)]
mod tests {
    use nom::bytes::complete::{tag, take};
    use nom::error::context;

    use super::*;

    #[test]
    fn errors_name_the_place_and_nothing_of_the_input() {
        let parser = || (take(2_usize), context("no number", tag(&b"12"[..])));
        assert_eq!(whole(b"ab12", parser()).map(|_| ()), Ok(()));
        assert_eq!(whole(b"secret", parser()).map(|_| ()), Err(Error::new("no number", 2)));
        assert_eq!(whole(b"ab12c", parser()).map(|_| ()), Err(Error::new("surplus bytes", 4)));
        assert_eq!(Error::new("no number", 2).behind(5).to_string(), "no number at byte 7");
    }
}
