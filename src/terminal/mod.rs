//! A TN5250 terminal, built on the codec: for people, for probes and for tests.
//!
//! ```text
//!   options   what it says about itself            keyboard   what keys do
//!   client    telnet and records, pure             picture    what is seen: text, ANSI, SVG
//!   display   image, cursor, locks, answers        session    a session over a stream, for programs
//!   console   a session on a tty, for people       keys       what a tty sends, as keys
//! ```
//!
//! It is a plain 5250: no windows drawn by the terminal, no printer, no DBCS.

mod client;
mod console;
mod display;
mod keyboard;
mod keys;
mod options;
mod picture;
mod session;
#[cfg(test)]
mod tests;

pub use client::Client;
pub use console::{Ending, run};
pub use display::{Display, Lock};
pub use keyboard::{Key, Slip};
pub use keys::HELP;
pub use options::{Keyboard, NARROW, Options, WIDE};
pub use picture::{Colour, Picture, Run, Style};
pub use session::{Error, Session};
