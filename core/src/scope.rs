//! Places of responsibility: a region, an agency within one, or everything.
//!
//! Written `13.76.01.1001` (region code), `13.76/dinkes` (agency of a region) or `all`. Region
//! codes are the official `PP.KK.CC.VVVV` of province, regency or city, district, village or ward;
//! a parent is a prefix up to a dot.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Decoder, Encode, Encoder};

/// Longest scope in bytes: a village code, a slash and an agency name.
pub const SCOPE_BYTES_MAX: usize = 64;

/// A scope that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a scope: expected a region code such as 13.76.01.1001, an agency such as 13.76/dinkes, or all"
)]
pub struct ParseScopeError {
    /// What was given, cut to 80 characters.
    pub text: String,
}

/// A region code, an agency of a region, or all of it. A value that exists is well formed; it need
/// not name a region that any import knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(String);

/// What a region code names, told by its number of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegionLevel {
    /// `PP`
    Province,
    /// `PP.KK`
    Regency,
    /// `PP.KK.CC`
    District,
    /// `PP.KK.CC.VVVV`
    Village,
}

impl Scope {
    /// The scope that covers every other.
    pub fn all() -> Self {
        Self("all".into())
    }

    /// The text of the scope, as it is written everywhere.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `all`.
    pub fn is_all(&self) -> bool {
        self.0 == "all"
    }

    /// The region code without the agency, or nothing for `all`.
    pub fn region(&self) -> Option<&str> {
        (!self.is_all()).then(|| {
            self.0
                .split('/')
                .next()
                .expect("split gives at least one part")
        })
    }

    /// The agency, if the scope names one.
    pub fn agency(&self) -> Option<&str> {
        self.0.split_once('/').map(|(_, agency)| agency)
    }

    /// The level of the region, or nothing for `all`.
    pub fn level(&self) -> Option<RegionLevel> {
        let level = match self.region()?.split('.').count() {
            1 => RegionLevel::Province,
            2 => RegionLevel::Regency,
            3 => RegionLevel::District,
            _ => RegionLevel::Village,
        };
        Some(level)
    }

    /// The scope directly above by its code, or nothing for `all`.
    pub fn parent(&self) -> Option<Self> {
        if self.is_all() {
            return None;
        }
        let end = self.0.rfind(['/', '.']);
        Some(end.map_or_else(Self::all, |end| Self(self.0[..end].to_owned())))
    }

    /// This scope and everything above it by its code, nearest first, `all` last.
    pub fn self_and_ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self.clone()), Self::parent)
    }

    /// Whether a grant on this scope reaches `other`: itself or anything below by code.
    pub fn covers(&self, other: &Self) -> bool {
        if self.is_all() {
            return true;
        }
        match other.0.strip_prefix(self.0.as_str()) {
            Some("") => true,
            Some(rest) => rest.starts_with('/') || rest.starts_with('.'),
            None => false,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Scope {
    type Err = ParseScopeError;

    fn from_str(text: &str) -> Result<Self, ParseScopeError> {
        if well_formed(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseScopeError {
                text: text.chars().take(80).collect(),
            })
        }
    }
}

fn well_formed(text: &str) -> bool {
    if text == "all" {
        return true;
    }
    if text.len() > SCOPE_BYTES_MAX {
        return false;
    }
    let (region, agency) = match text.split_once('/') {
        Some((region, agency)) => (region, Some(agency)),
        None => (text, None),
    };
    let lengths: Vec<usize> = region.split('.').map(str::len).collect();
    let digits = region
        .bytes()
        .all(|byte| byte == b'.' || byte.is_ascii_digit());
    let region_ok = digits && matches!(lengths[..], [2] | [2, 2] | [2, 2, 2] | [2, 2, 2, 4]);
    let agency_ok = agency.is_none_or(|agency| {
        !agency.is_empty()
            && agency
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    });
    region_ok && agency_ok
}

impl<C> Encode<C> for Scope {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Scope {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let text = d.str()?;
        text.parse()
            .map_err(|_| minicbor::decode::Error::message("not a scope"))
    }
}

impl serde::Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        text.parse().unwrap()
    }

    #[test]
    fn scopes_are_read_or_refused() {
        for good in [
            "all",
            "13",
            "13.76",
            "13.76.01",
            "13.76.01.1001",
            "13.76/dinkes",
            "13/bpkp-2",
            &format!("13/{}", "x".repeat(SCOPE_BYTES_MAX - 3)),
        ] {
            assert_eq!(scope(good).to_string(), good);
        }
        for bad in [
            "",
            "1",
            "13.",
            "13.7",
            "13.76.01.101",
            "13.76/",
            "13.76/Dinkes",
            "All",
            "13/a/b",
            "all/x",
            "१३",
            "1a",
            "13.7/",
            "13.76.01.10-1",
            &format!("13/{}", "x".repeat(SCOPE_BYTES_MAX - 2)),
        ] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_grant_covers_everything_below_and_nothing_beside() {
        assert!(scope("all").covers(&scope("13.76/dinkes")));
        assert!(scope("13.76").covers(&scope("13.76")));
        assert!(scope("13.76").covers(&scope("13.76.01.1001")));
        assert!(scope("13.76").covers(&scope("13.76/dinkes")));
        assert!(!scope("13.76/dinkes").covers(&scope("13.76")));
        assert!(!scope("13.76.01").covers(&scope("13.76.02.1001")));
        assert!(!scope("13").covers(&scope("all")));
        assert!(!scope("13.76/dinkes").covers(&scope("13.76/dinkes-2")));
    }

    #[test]
    fn ancestors_end_with_all() {
        let chain: Vec<String> = scope("13.76.01.1001")
            .self_and_ancestors()
            .map(|s| s.to_string())
            .collect();
        assert_eq!(chain, ["13.76.01.1001", "13.76.01", "13.76", "13", "all"]);
        let agency: Vec<String> = scope("13.76/dinkes")
            .self_and_ancestors()
            .map(|s| s.to_string())
            .collect();
        assert_eq!(agency, ["13.76/dinkes", "13.76", "13", "all"]);
    }
}
