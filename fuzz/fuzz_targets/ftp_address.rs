//! Fuzzes `sallyport_fuzz::ftp_address`; an ordinary build replays the files that its arguments name.
#![cfg_attr(fuzzing, no_main)]
#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sallyport_fuzz::ftp_address(data));
#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    sallyport_fuzz::replay(sallyport_fuzz::ftp_address)
}
