//! The official list of regions: provinces, regencies and cities, districts, villages and wards.
//!
//! Codes are reissued by decree, so regions arrive as imports with a named version.
//! [`RegionImport`] reads an official `code,name` file and cuts it into [`RegionSheet`]s, each
//! small enough to be signed and delivered alone: a device in one regency needs three of some 550.
//! [`Regions`] is the catalogue that sheets are applied to; a region that a later sheet no longer
//! lists is retired and never forgotten, since old evidence still names it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::placement::Placements;
use crate::scope::{RegionLevel, Scope};

mod import;

pub use import::{RegionError, RegionFault, RegionImport, example_csv};

/// What kind of unit a scope names, finer than its number of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnitType {
    /// Provinsi.
    Province,
    /// Kabupaten.
    Regency,
    /// Kota.
    City,
    /// Kecamatan.
    District,
    /// Kelurahan, part of a district.
    Ward,
    /// Desa, under local names such as nagari or gampong.
    Village,
    /// Desa adat.
    CustomaryVillage,
    /// An agency (OPD) of any region.
    Agency,
}

/// A word that names no type of unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a type of unit: expected province, regency, city, district, ward, village, customary_village or agency"
)]
pub struct ParseUnitTypeError {
    /// What was given, cut to 80 characters.
    pub text: String,
}

impl UnitType {
    /// Every type.
    pub const ALL: [Self; 8] = [
        Self::Province,
        Self::Regency,
        Self::City,
        Self::District,
        Self::Ward,
        Self::Village,
        Self::CustomaryVillage,
        Self::Agency,
    ];

    /// Tells the type from the code alone. Nothing for `all`, and for a village whose code starts
    /// with a digit that has no meaning.
    ///
    /// The second part of a city's code starts at 71; the first digit of a village part is 1 for a
    /// ward, 2 for a village, 3 for a customary village.
    pub fn of(scope: &Scope) -> Option<Self> {
        let region = scope.region()?;
        if scope.agency().is_some() {
            return Some(Self::Agency);
        }
        let last = region.rsplit('.').next().unwrap_or(region);
        match scope.level()? {
            RegionLevel::Province => Some(Self::Province),
            RegionLevel::Regency if last >= "71" => Some(Self::City),
            RegionLevel::Regency => Some(Self::Regency),
            RegionLevel::District => Some(Self::District),
            RegionLevel::Village => match last.as_bytes().first() {
                Some(b'1') => Some(Self::Ward),
                Some(b'2') => Some(Self::Village),
                Some(b'3') => Some(Self::CustomaryVillage),
                Some(_) | None => None,
            },
        }
    }

    /// The word used in frameworks and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Province => "province",
            Self::Regency => "regency",
            Self::City => "city",
            Self::District => "district",
            Self::Ward => "ward",
            Self::Village => "village",
            Self::CustomaryVillage => "customary_village",
            Self::Agency => "agency",
        }
    }
}

impl fmt::Display for UnitType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for UnitType {
    type Err = ParseUnitTypeError;

    fn from_str(text: &str) -> Result<Self, ParseUnitTypeError> {
        Self::ALL
            .into_iter()
            .find(|unit| unit.as_str() == text)
            .ok_or_else(|| ParseUnitTypeError {
                text: text.chars().take(80).collect(),
            })
    }
}

impl serde::Serialize for UnitType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One region as an import lists it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct RegionRow {
    /// Its code; never an agency and never `all`.
    #[n(0)]
    pub code: Scope,
    /// Its official name.
    #[n(1)]
    pub name: String,
}

/// The part of an import that speaks for one parent, whole: what it does not list is retired.
///
/// The sheet of `all` lists the provinces, the sheet of a province its regencies and cities, the
/// sheet of a regency or city its districts with their villages and wards.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RegionSheet {
    /// Version of the import, such as the decree it follows.
    #[n(0)]
    pub version: String,
    /// What the sheet speaks for.
    #[n(1)]
    pub parent: Scope,
    /// The regions, in order of code.
    #[n(2)]
    pub rows: Vec<RegionRow>,
}

/// The parent of the sheet that lists `code`, or nothing for what no sheet lists.
pub(crate) fn sheet_parent(code: &Scope) -> Option<Scope> {
    if code.agency().is_some() {
        return None;
    }
    match code.level()? {
        RegionLevel::Province | RegionLevel::Regency | RegionLevel::District => code.parent(),
        RegionLevel::Village => code.parent()?.parent(),
    }
}

/// A region in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    name: String,
    version: String,
    listed: bool,
}

impl Region {
    /// The official name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Version of the last import that lists the region.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// Whether a region exists today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionStatus {
    /// The last import lists it and everything above it.
    Active,
    /// The last import lacks it or something above it.
    Retired,
}

impl RegionStatus {
    /// The word used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

/// The regions that are known here: all of them on a server, those inside and above its scopes on
/// a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Regions {
    regions: BTreeMap<Scope, Region>,
    /// Codes directly below a scope, so that listing one does not walk everything inside it.
    children: BTreeMap<Scope, BTreeSet<Scope>>,
}

impl Regions {
    /// A catalogue that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one sheet. Called in journal order: the last sheet of a parent is the one that
    /// counts. A row that is not the sheet's to list is passed over.
    pub fn apply(&mut self, sheet: &RegionSheet) {
        for region in self.listed_by(&sheet.parent) {
            if let Some(region) = self.regions.get_mut(&region) {
                region.listed = false;
            }
        }
        for row in &sheet.rows {
            if sheet_parent(&row.code).as_ref() != Some(&sheet.parent) {
                continue;
            }
            if let Some(parent) = row.code.parent() {
                self.children
                    .entry(parent)
                    .or_default()
                    .insert(row.code.clone());
            }
            self.regions.insert(
                row.code.clone(),
                Region {
                    name: row.name.clone(),
                    version: sheet.version.clone(),
                    listed: true,
                },
            );
        }
    }

    /// The known codes for which the sheet of `parent` speaks.
    fn listed_by(&self, parent: &Scope) -> Vec<Scope> {
        let below = |scope: &Scope| self.children.get(scope).into_iter().flatten().cloned();
        let direct: Vec<Scope> = below(parent).collect();
        match parent.level() {
            None | Some(RegionLevel::Province) => direct,
            Some(RegionLevel::Regency) => {
                let villages: Vec<Scope> = direct.iter().flat_map(below).collect();
                [direct, villages].concat()
            }
            Some(RegionLevel::District | RegionLevel::Village) => Vec::new(),
        }
    }

    /// How many regions are known, retired ones included.
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// A region by its code.
    pub fn region(&self, code: &Scope) -> Option<&Region> {
        self.regions.get(code)
    }

    /// The official name of a region.
    pub fn name(&self, code: &Scope) -> Option<&str> {
        self.region(code).map(Region::name)
    }

    /// Whether a region is in force, or nothing if it is not known. An agency has the status of
    /// its region, and `all` is always in force.
    pub fn status(&self, code: &Scope) -> Option<RegionStatus> {
        let mut status = RegionStatus::Active;
        let region = code
            .self_and_ancestors()
            .find(|scope| scope.agency().is_none())?;
        for scope in region.self_and_ancestors().filter(|scope| !scope.is_all()) {
            match self.regions.get(&scope) {
                Some(region) if !region.listed => status = RegionStatus::Retired,
                Some(_) => {}
                None if scope == region => return None,
                None => {}
            }
        }
        Some(status)
    }

    /// The regions directly below `scope`, in order of code, retired ones included.
    pub fn children(&self, scope: &Scope) -> impl Iterator<Item = (&Scope, &Region)> {
        self.children
            .get(scope)
            .into_iter()
            .flatten()
            .filter_map(|code| Some((code, self.regions.get(code)?)))
    }

    /// Every known region in order of code, retired ones included.
    pub fn iter(&self) -> impl Iterator<Item = (&Scope, &Region)> {
        self.regions.iter()
    }

    /// The name with those above it, nearest first, as people write a place:
    /// `Payakumbuh Barat, Kota Payakumbuh, Sumatera Barat`. A unit that was moved stands under what
    /// it was moved to. What is not known stands as its code, an agency as its own short name.
    pub fn path_name(&self, scope: &Scope, placements: &Placements) -> String {
        let lineage = placements.lineage(scope);
        let names: Vec<String> = lineage
            .iter()
            .filter(|step| !step.is_all())
            .map(|step| match (step.agency(), self.name(step)) {
                (Some(agency), _) => agency.to_owned(),
                (None, Some(name)) => name.to_owned(),
                (None, None) => step.to_string(),
            })
            .collect();
        if names.is_empty() {
            return scope.to_string();
        }
        names.join(", ")
    }
}

#[cfg(test)]
mod tests;
