//! Sums of what is kept aside, which may be the last copy of something: each stands in the name of its
//! file.
//!
//! So the two come to be in one step, no other file has to be kept with them, and whoever states the
//! name in a finding states the content. It is plain SHA-256, which `sha256sum` prints.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::id::from_hex;

/// The first 16 bytes of the SHA-256 of what a file keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptSum([u8; 16]);

impl KeptSum {
    /// The sum of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes);
        Self(*digest.first_chunk().expect("a digest has 32 bytes"))
    }

    /// Reads what stands in a name.
    pub fn parse(text: &str) -> Option<Self> {
        from_hex(text).map(Self)
    }
}

impl fmt::Display for KeptSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
