//! Assessment frameworks: what a programme asks for, as versioned data.
//!
//! Wording, rows and weights differ by year and place, so a framework is a JSON file and never
//! code; [`Framework::from_json`] checks it whole and names the place of any fault. Keys it does
//! not know are kept and written back. A weight that was never published is null and stays null,
//! and a score total exists only where [`Framework::weights_complete`].

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::json::{self, Fault};
use crate::region::UnitType;
use crate::scope::Scope;

mod read;
mod reference;

pub(crate) use read::label;
pub use reference::{FrameworkRef, ParseFrameworkRefError};

/// The frameworks that come with the project, each as file name and content.
pub fn built_in() -> [(&'static str, &'static [u8]); 2] {
    [
        (
            "desa-antikorupsi.json",
            include_bytes!("../frameworks/desa-antikorupsi.json"),
        ),
        (
            "kabkota-antikorupsi.json",
            include_bytes!("../frameworks/kabkota-antikorupsi.json"),
        ),
    ]
}

/// A framework file that cannot be used: which file, which place, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameworkError {
    /// The file as it was named.
    pub file: String,
    /// Path in the JSON such as `components[2].indicators[0].code`; empty for the whole file.
    pub path: String,
    /// What is wrong there.
    pub reason: String,
}

impl fmt::Display for FrameworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        json::write_fault(f, &self.file, &self.path, &self.reason)
    }
}

impl std::error::Error for FrameworkError {}

/// A framework that was read and found whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Framework {
    source: Value,
    id: String,
    version: String,
    title: Label,
    applies_to: Vec<UnitType>,
    pass: Option<Pass>,
    components: Vec<Component>,
    places: BTreeMap<String, Place>,
}

/// Words for people, in Indonesian and perhaps in English.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Label {
    /// In Indonesian.
    pub id: String,
    /// In English, where somebody wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub en: Option<String>,
}

impl Label {
    /// The English words, or the Indonesian ones where there are none.
    pub fn english(&self) -> &str {
        self.en.as_deref().unwrap_or(&self.id)
    }
}

/// The mark to reach.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    /// Points.
    pub mark: f64,
    /// Whether the mark itself passes.
    pub rule: PassRule,
    /// The rating of those who pass.
    pub rating: Option<Label>,
}

/// Whether the pass mark itself passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassRule {
    /// The mark passes.
    AtLeast,
    /// Only more than the mark passes.
    Above,
}

impl Pass {
    /// Whether `score` passes.
    pub fn reached_by(&self, score: f64) -> bool {
        match self.rule {
            PassRule::AtLeast => score >= self.mark,
            PassRule::Above => score > self.mark,
        }
    }
}

/// How much something counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    points: Option<f64>,
    status: Option<String>,
}

impl Weight {
    /// The points, as far as anyone gave them.
    pub fn points(&self) -> Option<f64> {
        self.points
    }

    /// What is known about the points, such as `official` or `unknown`.
    pub fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }

    /// The points if they were published; only these may be added up.
    pub fn official(&self) -> Option<f64> {
        self.points
            .filter(|_| self.status.as_deref() == Some("official"))
    }
}

/// A part of a framework that holds indicators.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Its code, unique in the framework.
    pub code: String,
    /// Its title.
    pub title: Label,
    /// How much it counts.
    pub weight: Weight,
    /// Its indicators in order.
    pub indicators: Vec<Indicator>,
}

/// What is scored.
#[derive(Debug, Clone, PartialEq)]
pub struct Indicator {
    /// Its running number across components, where the programme counts so.
    pub number: Option<u32>,
    /// Its code, unique in the framework.
    pub code: String,
    /// Its title.
    pub title: Label,
    /// How much it counts.
    pub weight: Weight,
    /// Its checklist in order; may be empty.
    pub rows: Vec<Row>,
}

/// One line of an indicator's checklist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its code: the indicator's, a dot and more.
    pub code: String,
    /// What is asked for.
    pub title: Label,
}

/// What a code names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Item<'a> {
    /// A component.
    Component(&'a Component),
    /// An indicator.
    Indicator(&'a Indicator),
    /// A row.
    Row(&'a Row),
}

impl<'a> Item<'a> {
    /// The title of whatever it is.
    pub fn title(self) -> &'a Label {
        match self {
            Self::Component(component) => &component.title,
            Self::Indicator(indicator) => &indicator.title,
            Self::Row(row) => &row.title,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    component: usize,
    indicator: Option<usize>,
    row: Option<usize>,
}

impl Framework {
    /// Reads and checks the file called `name`.
    ///
    /// # Errors
    /// [`FrameworkError`] with the first fault: not JSON, nested too deep, a key given twice, a
    /// field missing or of the wrong type, a code used twice, a row under another indicator, or
    /// something larger than [`limits`](crate::limits) allows.
    pub fn from_json(name: &str, bytes: &[u8]) -> Result<Self, FrameworkError> {
        read::framework(bytes).map_err(|Fault { path, reason }| FrameworkError {
            file: name.to_owned(),
            path,
            reason,
        })
    }

    /// The framework as JSON with every key that was read, known or not.
    pub fn to_json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(&self.source)
            .expect("a JSON value can be written to a vector");
        bytes.push(b'\n');
        bytes
    }

    /// What stands under a key of the file's outermost object, known or not.
    pub fn extra(&self, key: &str) -> Option<&Value> {
        self.source.get(key)
    }

    /// Its name without the version.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its version; several live side by side.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The reference that means exactly this framework.
    pub fn reference(&self) -> FrameworkRef {
        FrameworkRef::exact(&self.id, &self.version)
    }

    /// Its title.
    pub fn title(&self) -> &Label {
        &self.title
    }

    /// The types of unit that it assesses.
    pub fn applies_to(&self) -> &[UnitType] {
        &self.applies_to
    }

    /// Whether it assesses the unit `scope`. An agency contributes to what its region is assessed
    /// on.
    pub fn assesses(&self, scope: &Scope) -> bool {
        let region = scope.agency().and_then(|_| scope.parent());
        [Some(scope), region.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(UnitType::of)
            .any(|unit| self.applies_to.contains(&unit))
    }

    /// The mark to reach, where there is one.
    pub fn pass(&self) -> Option<&Pass> {
        self.pass.as_ref()
    }

    /// Its components in order.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// Every indicator in order.
    pub fn indicators(&self) -> impl Iterator<Item = &Indicator> {
        self.components
            .iter()
            .flat_map(|component| &component.indicators)
    }

    /// Every row in order.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.indicators().flat_map(|indicator| &indicator.rows)
    }

    /// What `code` names.
    pub fn find(&self, code: &str) -> Option<Item<'_>> {
        let place = self.places.get(code)?;
        let component = &self.components[place.component];
        let Some(indicator) = place.indicator else {
            return Some(Item::Component(component));
        };
        let indicator = &component.indicators[indicator];
        Some(match place.row {
            None => Item::Indicator(indicator),
            Some(row) => Item::Row(&indicator.rows[row]),
        })
    }

    /// The indicator that `code` names or whose row it names; nothing for a component.
    pub fn indicator_of(&self, code: &str) -> Option<&Indicator> {
        let place = self.places.get(code)?;
        Some(&self.components[place.component].indicators[place.indicator?])
    }

    /// The component that `code` names or lies in.
    pub fn component_of(&self, code: &str) -> Option<&Component> {
        Some(&self.components[self.places.get(code)?.component])
    }

    /// Whether every weight of components and indicators is official, so that a total means
    /// something. Elsewhere only completeness can be shown.
    pub fn weights_complete(&self) -> bool {
        let components = self.components.iter().map(|component| &component.weight);
        let indicators = self.indicators().map(|indicator| &indicator.weight);
        components
            .chain(indicators)
            .all(|weight| weight.official().is_some())
    }
}

impl serde::Serialize for Framework {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.source.serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
