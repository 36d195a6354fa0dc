//! Every guard is tried: what protects a promise is taken out, and a test has to fail.
//!
//! The [`list`] says what each guard promises, where it stands and what takes it out; a [`trial`]
//! does so in a copy of the workspace, by a [`switch`] where it can, and reads the [`outcome`] of
//! the tests. A guard that nobody misses is a line without a test, or one that is not needed.

pub mod list;
pub mod outcome;
pub mod switch;
pub mod trial;

use std::path::{Path, PathBuf};

/// The root of this workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies in the workspace")
        .to_owned()
}
