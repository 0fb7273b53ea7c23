//! What Sallyport brings along for trying and testing it: a simulated IBM i, a sink for mails, and both around a gateway.
//!
//! ```text
//!   host   its settings, its listener         page    its pages        wire   negotiation and records
//!   job    one terminal: jobs and keys        sheet   the bytes of a display
//!   ftp    the same host's FTP server        mail    the sink
//!   stage  hosts, sink and gateway together  walk    a whole sign-on, played by itself
//! ```

mod ftp;
mod host;
mod job;
pub mod mail;
mod page;
mod sheet;
mod stage;
mod walk;
mod wire;

pub use ftp::{FtpHappening, FtpHost, FtpScene, FtpWalkError, walk_ftp};
pub use host::{Account, Happening, Host, HostSettings, Layout, Query};
pub use page::Place;
pub use stage::{
    ADDRESS, APP_PASSWORD, APP_USER, PASSWORD, STRANGER, STRANGER_PASSWORD, Stage, StageError, StageSettings, USER,
};
pub use walk::{Scene, WalkError, passcode, walk};

#[cfg(test)]
mod tests;
