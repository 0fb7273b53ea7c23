//! What Sallyport brings along for trying and testing it: a simulated IBM i and a sink for its mails.
//!
//! ```text
//!   host   its settings, its listener         page    its pages        wire   negotiation and records
//!   job    one terminal: jobs and keys        sheet   the bytes of a display
//!   mail   the sink
//! ```

mod host;
mod job;
pub mod mail;
mod page;
mod sheet;
mod wire;

pub use host::{Account, Happening, Host, HostSettings, Layout, Query};
pub use page::Place;

#[cfg(test)]
mod tests;
