//! What the log would say, for tests.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Lines, each with the number of runs that it names. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Heard {
    lines: Arc<Mutex<Vec<Line>>>,
    /// Asked at each line.
    asks: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Heard {
    /// Has something looked into at each line.
    pub(crate) fn asking(asks: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            asks: Some(Arc::new(asks)),
            ..Self::default()
        }
    }

    /// Hears what this thread says meanwhile.
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        tracing::subscriber::with_default(self.clone(), work)
    }

    /// The messages.
    pub(crate) fn messages(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines.iter().map(|line| line.message.clone()).collect()
    }

    /// How many runs each line that has to do with runs names.
    pub(crate) fn runs(&self) -> Vec<u64> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter_map(|line| line.runs).collect()
    }
}

impl Subscriber for Heard {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if let Some(asks) = &self.asks {
            asks();
        }
        let mut line = Line::default();
        event.record(&mut line);
        self.lines.lock().unwrap().push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    runs: Option<u64>,
}

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "runs" {
            self.runs = Some(value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}
