//! Naming a framework: `ID[@VERSION]`.

use std::fmt;
use std::str::FromStr;

use super::Framework;
use crate::limits;

/// A framework by name, of one version or of whichever the reader has: `ID[@VERSION]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameworkRef {
    id: String,
    version: Option<String>,
}

/// A reference that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a framework: expected ID or ID@VERSION such as desa-antikorupsi@2021+checklist-2025"
)]
pub struct ParseFrameworkRefError {
    /// What was given, cut to 80 characters.
    pub text: String,
}

impl FrameworkRef {
    pub(super) fn exact(id: &str, version: &str) -> Self {
        Self {
            id: id.to_owned(),
            version: Some(version.to_owned()),
        }
    }

    /// The name without the version.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The version, where one is meant.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Whether `framework` is one of those meant.
    pub fn matches(&self, framework: &Framework) -> bool {
        self.id == framework.id
            && self
                .version
                .as_ref()
                .is_none_or(|version| *version == framework.version)
    }
}

impl fmt::Display for FrameworkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            None => f.pad(&self.id),
            Some(version) => f.pad(&format!("{}@{version}", self.id)),
        }
    }
}

impl FromStr for FrameworkRef {
    type Err = ParseFrameworkRefError;

    fn from_str(text: &str) -> Result<Self, ParseFrameworkRefError> {
        let (id, version) = match text.split_once('@') {
            Some((id, version)) => (id, Some(version)),
            None => (text, None),
        };
        let fits = |part: &str| (1..=limits::DEFINITION_CODE_BYTES_MAX).contains(&part.len());
        let id_ok = fits(id) && id_well_formed(id);
        let version_ok =
            version.is_none_or(|version| fits(version) && version_well_formed(version));
        if !id_ok || !version_ok {
            return Err(ParseFrameworkRefError {
                text: text.chars().take(80).collect(),
            });
        }
        Ok(Self {
            id: id.to_owned(),
            version: version.map(str::to_owned),
        })
    }
}

impl serde::Serialize for FrameworkRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

pub(super) fn id_well_formed(id: &str) -> bool {
    id.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

pub(super) fn version_well_formed(version: &str) -> bool {
    version
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-' | b'_'))
}
