//! TN5250: the codec, and a gate that lets a terminal through to an IBM i only once the second factor is right.
//!
//! The codec and the gate are pure: bytes and time come in as arguments, values go out. Nothing in them reads, writes,
//! logs, waits or asks the time, and no input makes them panic. Only the relay, behind the feature of that name, does
//! input and output.
//!
//! A record, from the wire to what the operator keyed, and back:
//!
//! ```
//! use proxy_tn5250::{input, record, telnet};
//!
//! let mut buffer = bytes::BytesMut::from(
//!     &b"\x00\x13\x12\xA0\x00\x00\x04\x00\x00\x03\x06\x38\xF1\x11\x06\x35\xC1\xC2\xC3\xFF\xEF"[..],
//! );
//! let frame = telnet::Splitter::new().take(&mut buffer)?.expect("a whole record");
//! let content = telnet::unescape(&frame.wire);
//! let record = record::parse(&content)?;
//! let input = input::parse(record.data)?;
//! assert_eq!(input.aid, input::Aid::ENTER);
//! for field in input.modified(|_, _| None)? {
//!     assert_eq!((field.row, field.column, field.data), (6, 53, &b"\xC1\xC2\xC3"[..]));
//! }
//! assert_eq!(telnet::write_record(&record.write()), frame.wire);
//! # Ok::<(), proxy_tn5250::Error>(())
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

pub mod display;
pub mod ebcdic;
pub mod environ;
pub mod error;
pub mod gate;
pub mod input;
pub mod prompt;
pub mod record;
#[cfg(feature = "relay")]
pub mod relay;
pub mod screen;
pub mod signon;
pub mod telnet;
#[cfg(test)]
mod traces;

pub use error::Error;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
