//! TN5250: the codec, and a gate that lets a terminal through to an IBM i only once the second factor is right.

pub mod display;
pub mod error;
pub mod screen;

pub use error::Error;
