//! FTP: the codec, and a gate that lets a client through to a host only once the second factor is right.
//!
//! The codec and the gate are pure: bytes and time come in as arguments, values go out. Nothing in them reads, writes,
//! logs, waits or asks the time, and no input makes them panic. Only the relay and the data connections, behind the feature
//! `relay`, do input and output.
//!
//! A client's line, from the wire to what it means, and back:
//!
//! ```
//! use proxy_ftp::{command, line};
//!
//! let mut buffer = bytes::BytesMut::from(&b"port 192,0,2,7,4,1\r\n"[..]);
//! let Some(line::Line::Whole(line)) = line::Splitter::client().take(&mut buffer)? else { panic!("no line") };
//! let command = command::parse(&line)?;
//! assert_eq!(command, command::Command::Port("192.0.2.7:1025".parse().unwrap()));
//! assert_eq!(command.write(), "PORT 192,0,2,7,4,1\r\n");
//! # Ok::<(), proxy_ftp::Error>(())
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

pub mod address;
pub mod command;
#[cfg(feature = "relay")]
pub mod data;
pub mod error;
pub mod gate;
pub mod line;
pub mod order;
#[cfg(feature = "relay")]
pub mod relay;
pub mod reply;

pub use error::Error;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
