//! The hash chain: each entry's hash covers the one before it of the same node, so that no entry can be changed, taken out or moved.
//!
//! ```text
//!   hash(n) = SHA-256( "sallyport audit entry 1" ‖ hash(n-1) ‖ n ‖ id ‖ for each column that is not empty, in order:
//!                      name ‖ "i" ‖ number   or   name ‖ "t" ‖ text )
//! ```
//!
//! n counts a node's entries from 1; hash(0) is 32 zero bytes; numbers are 8 bytes, the highest first; names and texts
//! stand behind their length, a number. So two entries that differ have two encodings. A column that is empty is left out: a later
//! schema may add columns without changing what was hashed before. No key is part of it: whoever may read can verify. That nobody
//! wrote the chain anew is for [checkpoints](super::checkpoint) to prove.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::Entry;
use policy::Service;

/// The columns of an entry, in the order in which they are hashed.
pub const COLUMNS: [&str; 17] = [
    "at",
    "node",
    "event",
    "outcome",
    "reason",
    "connection",
    "user",
    "source",
    "port",
    "service",
    "host",
    "listener",
    "factor",
    "challenge",
    "rule",
    "detail",
    "logging",
];

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Hash([u8; 32]);

impl Hash {
    /// What stands before a node's first entry.
    pub const START: Self = Self([0; 32]);

    /// The hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_digest(&digest::digest(&digest::SHA256, bytes))
    }

    /// A digest that was computed in pieces.
    #[must_use]
    pub fn from_digest(digest: &digest::Digest) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }

    /// A hash that was kept.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok();
        bytes.and_then(|bytes| Self::from_bytes(&bytes)).ok_or("a hash is 64 hexadecimal digits")
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for Hash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The value of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Nothing.
    Empty,
    /// A number.
    Number(i64),
    /// Text.
    Text(Cow<'a, str>),
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a Option<String>> for Cell<'a> {
    fn from(text: &'a Option<String>) -> Self {
        text.as_deref().map_or(Self::Empty, Self::from)
    }
}

/// The values of an entry's [`COLUMNS`].
pub type Cells<'a> = [Cell<'a>; COLUMNS.len()];

impl Entry {
    /// What the store keeps of it, column by column.
    #[must_use]
    pub fn cells(&self) -> Cells<'_> {
        [
            Cell::Number(self.at.as_millisecond()),
            self.node.as_str().into(),
            self.event.as_str().into(),
            self.outcome.as_str().into(),
            (&self.reason).into(),
            (&self.connection).into(),
            (&self.user).into(),
            self.source.map_or(Cell::Empty, |source| Cell::Text(source.to_string().into())),
            self.port.map_or(Cell::Empty, |port| Cell::Number(port.into())),
            self.service.map(Service::as_str).map_or(Cell::Empty, Cell::from),
            (&self.host).into(),
            (&self.listener).into(),
            (&self.factor).into(),
            (&self.challenge).into(),
            self.rule.map_or(Cell::Empty, Cell::Number),
            (&self.detail).into(),
            self.logging.map_or(Cell::Empty, |level| level.as_str().into()),
        ]
    }
}

/// The hash of a node's entry of the number `sequence`, which has the id `id` and stands behind `previous`.
#[must_use]
pub fn link(previous: Hash, sequence: i64, id: i64, cells: &Cells<'_>) -> Hash {
    let mut bytes = Vec::with_capacity(768);
    bytes.extend_from_slice(b"sallyport audit entry 1");
    bytes.extend_from_slice(&previous.0);
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(&id.to_be_bytes());
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    };
    for (name, cell) in COLUMNS.into_iter().zip(cells) {
        match cell {
            Cell::Empty => {}
            Cell::Number(number) => {
                text(&mut bytes, name);
                bytes.push(b'i');
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            Cell::Text(value) => {
                text(&mut bytes, name);
                bytes.push(b't');
                text(&mut bytes, value);
            }
        }
    }
    Hash::of(&bytes)
}

/// Where a node's chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// How many entries there are, those that are archived among them.
    pub count: i64,
    /// The id of the newest.
    pub id: i64,
    /// Its hash.
    pub hash: Hash,
}

impl Head {
    /// Before the first entry.
    pub const START: Self = Self { count: 0, id: 0, hash: Hash::START };
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::{Event, Outcome};
    use super::*;

    fn entry() -> Entry {
        let entry = Entry::new(Timestamp::UNIX_EPOCH, "node", Event::SignOn, Outcome::Allowed);
        entry.reason("network-exempt").source("[2001:db8::1]:4711".parse().unwrap())
    }

    /// The value was computed apart from this program, by the description at the top.
    #[test]
    fn the_encoding_is_the_one_that_is_written_down() {
        let mut bytes = b"sallyport audit entry 1".to_vec();
        bytes.extend([0; 32]);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9]);
        let short = |text: &str| [&[0, 0, 0, 0, 0, 0, 0, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        bytes.extend([short("at"), b"i".to_vec(), vec![0; 8]].concat());
        for (name, value) in [("node", "node"), ("event", "sign-on"), ("outcome", "allowed")] {
            bytes.extend([short(name), b"t".to_vec(), short(value)].concat());
        }
        bytes.extend([short("reason"), b"t".to_vec(), short("network-exempt")].concat());
        bytes.extend([short("source"), b"t".to_vec(), short("2001:db8::1")].concat());
        bytes.extend([short("port"), b"i".to_vec(), vec![0, 0, 0, 0, 0, 0, 0x12, 0x67]].concat());
        assert_eq!(link(Hash::START, 1, 9, &entry().cells()), Hash::of(&bytes));
    }

    #[test]
    fn whatever_changes_changes_the_hash() {
        let (entry, start) = (entry(), Hash::START);
        let hash = link(start, 1, 9, &entry.cells());
        assert_ne!(hash, link(hash, 1, 9, &entry.cells()));
        assert_ne!(hash, link(start, 2, 9, &entry.cells()));
        assert_ne!(hash, link(start, 1, 8, &entry.cells()));
        for column in 0..COLUMNS.len() {
            for other in [Cell::Empty, Cell::Number(7), Cell::from("7"), Cell::from("")] {
                let mut cells = entry.cells();
                let changed = cells[column] != other;
                cells[column] = other;
                assert_eq!(changed, hash != link(start, 1, 9, &cells), "{}", COLUMNS[column]);
            }
        }
    }

    #[test]
    fn a_hash_reads_as_it_is_written() {
        let hash = Hash::of(b"x");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for wrong in ["", "00", &"g".repeat(64), &"A".repeat(64)] {
            assert!(wrong.parse::<Hash>().is_err(), "{wrong}");
        }
    }
}
