//! `bukti`, the field command: a device's evidence on a command line.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::main()
}
