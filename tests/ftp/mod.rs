//! FTP through a running gateway: servers and clients that nobody here wrote, and attackers that somebody here did.
//!
//! ```text
//!   server   vsftpd and pyftpdlib, each in a folder of its own, with a user of its own
//!   client   curl, lftp, tnftp, ncftp, Python's ftplib, basic-ftp: one piece of work for all of them
//!   stage    the gateway itself, configured, with users and a mail relay
//!   puppet   a host that does what an attack needs, and a bare client
//!   clients, files, attacks, outages      the tests
//!   scripts  conversations in files, played against the gate
//! ```

mod attacks;
mod client;
mod clients;
mod files;
mod outages;
mod puppet;
pub(crate) mod scripts;
mod server;
mod stage;
