//! `cargo xtask demo`: the main job on a bad link, with real processes.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use bukti_tests::demo::page::Page;
use bukti_tests::demo::stage::Stage;
use bukti_tests::demo::story::Story;
use bukti_tests::demo::{Options, Stopped};
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .iter()
        .any(|given| given == "--help" || given == "-h")
    {
        println!("{}", Options::USAGE);
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let shown = Runtime::new()
        .map_err(|error| Stopped(format!("cannot start threads: {error}")))
        .and_then(|runtime| runtime.block_on(show(options)));
    match shown {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(stopped) => {
            eprintln!("\nbukti-demo: {stopped}");
            ExitCode::FAILURE
        }
    }
}

/// Tells the story on a thread of its own, so that Ctrl-C is heard at any time.
async fn show(options: Options) -> Result<bool, Stopped> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let asked_to_end = Arc::clone(&interrupted);
    let heard = |error| Stopped(format!("cannot listen for Ctrl-C: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(heard)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(heard)?;
    let (end, ended) = mpsc::channel();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        asked_to_end.store(true, Ordering::Relaxed);
        // The story may be over, and nobody may wait any more.
        let _ = end.send(());
    });
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || tell(runtime, interrupted, &ended, &options))
        .await
        .map_err(|error| Stopped(format!("the story broke off: {error}")))?
}

fn tell(
    runtime: Handle,
    interrupted: Arc<AtomicBool>,
    ended: &mpsc::Receiver<()>,
    options: &Options,
) -> Result<bool, Stopped> {
    let mut page = Page::open();
    let mut stage = Stage::new(runtime, interrupted)?;
    let told = Story::new(&mut stage, &mut page, options).tell();
    page.progress_done();
    page.gap();
    if told.is_ok() && !options.exit {
        let folder = if options.keep { "stays" } else { "is removed" };
        page.text(&format!(
            "Ctrl-C ends the server; then the folder {folder}."
        ));
        // An error means that nobody listens for Ctrl-C, so there is nothing to wait for.
        let _ = ended.recv();
        page.gap();
    }
    let stopped = stage.stop_server();
    let folder = stage.folder().display().to_string();
    if options.keep {
        stage.keep_folder();
        page.text(&format!("The server ended; {folder} is kept."));
    } else {
        match stage.remove_folder() {
            Ok(()) => page.text(&format!("The server ended; {folder} is removed.")),
            Err(error) => page.text(&format!("{folder} could not be removed: {error}")),
        }
    }
    told.and_then(|held| stopped.map(|()| held))
}
