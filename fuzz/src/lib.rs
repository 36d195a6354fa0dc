//! What every target of the fuzzer shares.

use std::panic::{AssertUnwindSafe, catch_unwind};

#[doc(hidden)]
pub use libfuzzer_sys;

/// A target around a body of `bukti_hostile`.
#[macro_export]
macro_rules! target {
    ($body:path) => {
        $crate::libfuzzer_sys::fuzz_target!(init: $crate::silence(), |bytes: &[u8]| {
            $crate::run($body, bytes);
        });
    };
}

/// Automerge panics on some inputs, which is caught where it is called. The fuzzer would take the
/// first such panic for a finding, so its hook is taken away.
pub fn silence() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// Runs a body; a panic that leaves it is the finding.
pub fn run<T>(body: fn(&[u8]) -> T, bytes: &[u8]) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(bytes))) else {
        return;
    };
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    eprintln!("{}", text.unwrap_or("a panic without a text"));
    std::process::abort();
}
