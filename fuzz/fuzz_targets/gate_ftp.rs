//! Fuzzes `sallyport_fuzz::gate_ftp`; an ordinary build replays the files that its arguments name.
#![cfg_attr(fuzzing, no_main)]
#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sallyport_fuzz::gate_ftp(data));
#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    sallyport_fuzz::replay(sallyport_fuzz::gate_ftp)
}
