//! The log of both programs: one line an event, on standard error.
//!
//! What libraries below the evidence say is left out, whatever the level: Automerge names pieces of
//! what it reads in its spans and reports each failure to read as an error, so that a hostile
//! device could fill the log, with content in it. What it fails over is reported where it is
//! handled.

use std::io::{self, IsTerminal};

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Libraries that are handed bytes of devices.
const HANDED_EVIDENCE: [&str; 3] = ["automerge", "hexane", "sled"];

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// With the time, for a program that runs for long.
    Timed,
    /// Without it, beside what a command prints.
    Bare,
}

/// Starts the log of this process; `level` is the least grave that is shown.
///
/// # Panics
/// If it was started before.
pub fn start(level: Level, lines: Lines) {
    match lines {
        Lines::Timed => subscriber(level, io::stderr, io::stderr().is_terminal()).init(),
        Lines::Bare => {
            let ansi = io::stderr().is_terminal();
            let layer = fmt::layer().with_writer(io::stderr).with_ansi(ansi);
            let layer = layer.with_target(false);
            let layer = layer.without_time().with_filter(shown(level));
            tracing_subscriber::registry().with(layer).init();
        }
    }
}

fn subscriber<W>(level: Level, writer: W, ansi: bool) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer).with_ansi(ansi);
    let layer = layer.with_target(false).with_filter(shown(level));
    tracing_subscriber::registry().with(layer)
}

fn shown<S>(level: Level) -> impl tracing_subscriber::layer::Filter<S> {
    let shown = move |about: &Metadata<'_>| {
        let library = about.target().split("::").next().unwrap_or_default();
        *about.level() <= level && !HANDED_EVIDENCE.contains(&library)
    };
    filter_fn(shown).with_max_level_hint(level)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: Level, events: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = subscriber(level, move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, events);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_libraries_say_of_evidence_is_never_logged() {
        let text = logged(Level::TRACE, || {
            tracing::error!(target: "automerge::storage::columns", "columns out of order");
            let span = tracing::info_span!(target: "hexane", "splice", text = "Sari");
            span.in_scope(|| tracing::info!(target: "bukti_server", "a batch was accepted"));
        });
        assert!(text.contains("a batch was accepted"), "{text}");
        assert!(
            !text.contains("columns") && !text.contains("Sari"),
            "{text}"
        );
    }

    #[test]
    fn only_what_is_grave_enough_is_shown() {
        let text = logged(Level::WARN, || {
            tracing::info!("usual");
            tracing::warn!("unusual");
        });
        assert!(
            text.contains("unusual") && !text.contains(" usual"),
            "{text}"
        );
    }
}
