//! TN5250: the codec, and a gate that lets a terminal through to an IBM i only once the second factor is right.
//!
//! The codec and the gate are pure: bytes and time come in as arguments, values go out. Nothing in them reads, writes,
//! logs, waits or asks the time, and no input makes them panic. Only the relay, behind the feature of that name, does
//! input and output.
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
