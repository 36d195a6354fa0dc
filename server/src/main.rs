//! `bukti-server`: see [`bukti_server::run`].

fn main() -> std::process::ExitCode {
    bukti_server::run(std::env::args_os())
}
