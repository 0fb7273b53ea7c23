//! The `sallyport` program: parses its arguments, runs one verb, says how it went by its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    sallyport::cli::main()
}
