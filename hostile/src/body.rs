//! One function for each thing that reads bytes from outside. Each takes any bytes, checks what is
//! promised of them and panics if that does not hold.

mod change;
mod definition;
mod envelope;
mod frame;
mod journal;

pub use change::{change, sum};
pub use definition::{framework, region};
pub use envelope::{envelope, sign, sign_body};
pub use frame::{frame, item};
pub use journal::{journal, reseal, script};
pub(crate) use {envelope::device_key, envelope::server_key, journal::whole};

/// What a body did with its input, for those who count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Took {
    /// It was read.
    Read,
    /// It was refused, with a reason.
    Refused,
    /// It is of a later version and passed over.
    Ignored,
}

/// A body under its name.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of its target and of its folder in the corpus.
    pub name: &'static str,
    /// What it does.
    pub body: fn(&[u8]) -> Took,
}

/// Every target of the fuzzer.
pub const TARGETS: [Target; 6] = [
    Target {
        name: "frame",
        body: frame,
    },
    Target {
        name: "envelope",
        body: envelope,
    },
    Target {
        name: "change",
        body: change,
    },
    Target {
        name: "journal",
        body: journal,
    },
    Target {
        name: "framework",
        body: framework,
    },
    Target {
        name: "region",
        body: region,
    },
];
