//! The one error of all parsers here: what was expected and at which byte, never the bytes themselves.

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
}
