//! A TN5250 terminal, built on the codec: for people, for probes and for tests.
//!
//! ```text
//!   options   what it says about itself            keyboard   what keys do
//!   client    telnet and records, pure             picture    what is seen: text, ANSI, SVG
//!   display   image, cursor, locks, answers        session    a session over a stream, for programs
//! ```
//!
//! It is a plain 5250: no windows drawn by the terminal, no printer, no DBCS.

mod client;
mod display;
mod keyboard;
mod options;
mod picture;
mod session;

pub use client::Client;
pub use display::{Display, Lock};
pub use keyboard::{Key, Slip};
pub use options::{Keyboard, NARROW, Options, WIDE};
pub use picture::{Colour, Picture, Run, Style};
pub use session::{Error, Session};
