//! What the fuzz targets check, as ordinary functions, so that the tests replay corpora on stable Rust.
//!
//! ```text
//! RUSTC_BOOTSTRAP=1 cargo fuzz run telnet target/corpus/telnet fuzz/corpus/telnet -- -use_value_profile=1 -max_total_time=600
//! ```
//!
//! The first folder takes what the run finds, the second holds seeds. `SALLYPORT_SEEDS=fuzz/corpus cargo test --test main
//! seeds` writes the seeds anew from the scripts in `tests/scripts/`; with `SALLYPORT_TRACES` set it adds the recorded
//! traces to `target/corpus` (those are not ours to keep). A finding is replayed on stable Rust by
//! `cargo run -p sallyport-fuzz --bin telnet -- FILE...`.

mod codec;
pub mod events;
mod ftp;
pub mod ftp_gate;
mod gate;
pub mod radius;
pub mod watch;

pub use codec::{display, environ, input, record, telnet};
pub use ftp::{ftp_address, ftp_command, ftp_line, ftp_reply};
pub use ftp_gate::gate_ftp;
pub use gate::gate_tn5250;
pub use radius::radius;

/// Runs `check` over the files that the program's arguments name.
///
/// # Errors
///
/// Where a file cannot be read.
pub fn replay(check: impl Fn(&[u8])) -> std::io::Result<()> {
    for path in std::env::args_os().skip(1) {
        check(&std::fs::read(path)?);
    }
    Ok(())
}
