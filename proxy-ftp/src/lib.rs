//! FTP's control channel: a codec for programs that stand between a client and a host, or that are one of the two.
//!
//! This crate is the codec only: lines, commands, replies and the addresses in them. It is pure: bytes come in as
//! arguments, values go out; nothing reads, writes, logs, waits or asks the time, and no input makes it panic. The
//! gateway does not serve FTP yet; its FTP gate and relay will stand on this.
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
pub mod error;
pub mod line;
pub mod reply;

pub use error::Error;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
