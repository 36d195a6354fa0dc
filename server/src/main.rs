//! `bukti-server`: see [`bukti_server::run`].

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    bukti_server::run(std::env::args_os())
}
