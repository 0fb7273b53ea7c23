//! Fuzzes `sallyport_fuzz::radius`; an ordinary build replays the files that its arguments name.
#![cfg_attr(fuzzing, no_main)]
#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sallyport_fuzz::radius(data));
#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    sallyport_fuzz::replay(sallyport_fuzz::radius)
}
