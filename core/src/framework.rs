//! Assessment frameworks: what a programme asks for, as versioned data.
//!
//! Wording, rows and weights differ by year and place, so a framework is a JSON file and never
//! code; [`Framework::from_json`] checks it whole and names the place of any fault. Keys it does
//! not know are kept and written back. A weight that was never published is null and stays null,
//! and a score total exists only where [`Framework::weights_complete`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::json::{self, Fault, Node};
use crate::limits;
use crate::region::UnitType;
use crate::scope::Scope;

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
    /// something larger than [`limits`] allows.
    pub fn from_json(name: &str, bytes: &[u8]) -> Result<Self, FrameworkError> {
        read(bytes).map_err(|Fault { path, reason }| FrameworkError {
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
        FrameworkRef {
            id: self.id.clone(),
            version: Some(self.version.clone()),
        }
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

fn read(bytes: &[u8]) -> Result<Framework, Fault> {
    let source = json::parse(bytes, limits::FRAMEWORK_BYTES_MAX)?;
    let root = Node::root(&source);
    let id = root.required("id")?;
    let id = checked(&id, id_well_formed, "lowercase letters, digits and hyphens")?;
    let version = root.required("version")?;
    let version = checked(
        &version,
        version_well_formed,
        "letters, digits and any of . + - _",
    )?;
    let title = label(&root.required("title")?)?;
    let applies_to = applies_to(&root.required("applies_to")?)?;
    let pass = pass(&root)?;
    let mut codes = Codes::default();
    let nodes = root
        .required("components")?
        .items(limits::FRAMEWORK_ITEMS_MAX)?;
    let mut components = Vec::with_capacity(nodes.len());
    for (position, node) in nodes.iter().enumerate() {
        components.push(component(node, position, &mut codes)?);
    }
    if components.is_empty() {
        return Err(root.required("components")?.fault("has no item"));
    }
    Ok(Framework {
        source: source.clone(),
        id,
        version,
        title,
        applies_to,
        pass,
        components,
        places: codes.places,
    })
}

fn checked(node: &Node<'_>, ok: fn(&str) -> bool, expected: &str) -> Result<String, Fault> {
    let text = node.text(limits::DEFINITION_CODE_BYTES_MAX)?;
    if ok(text) {
        Ok(text.to_owned())
    } else {
        Err(node.fault(format!("'{text}' is not allowed: expected {expected}")))
    }
}

/// Reads words for people.
pub(crate) fn label(node: &Node<'_>) -> Result<Label, Fault> {
    let words = |node: Node<'_>| -> Result<String, Fault> {
        Ok(node.text(limits::DEFINITION_TITLE_BYTES_MAX)?.to_owned())
    };
    Ok(Label {
        id: words(node.required("id")?)?,
        en: node.optional("en")?.map(words).transpose()?,
    })
}

fn applies_to(node: &Node<'_>) -> Result<Vec<UnitType>, Fault> {
    let items = node.items(UnitType::ALL.len())?;
    if items.is_empty() {
        return Err(node.fault("names no type of unit"));
    }
    let unit = |item: &Node<'_>| {
        item.text(limits::DEFINITION_CODE_BYTES_MAX)?
            .parse::<UnitType>()
            .map_err(|error| item.fault(error.to_string()))
    };
    items.iter().map(unit).collect()
}

fn pass(root: &Node<'_>) -> Result<Option<Pass>, Fault> {
    let rating = root.optional("pass_rating")?;
    let Some(mark) = root.optional("pass_mark")? else {
        return match root.optional("pass_rule")? {
            Some(rule) => Err(rule.fault("needs a pass_mark beside it")),
            None => Ok(None),
        };
    };
    let node = root.required("pass_rule")?;
    let rule = match node.text(limits::DEFINITION_CODE_BYTES_MAX)? {
        "at_least" => PassRule::AtLeast,
        "above" => PassRule::Above,
        other => {
            return Err(node.fault(format!(
                "'{other}' is not a pass rule: expected at_least or above"
            )));
        }
    };
    Ok(Some(Pass {
        mark: mark.amount()?,
        rule,
        rating: rating.as_ref().map(label).transpose()?,
    }))
}

/// The codes read so far, each with its place.
#[derive(Default)]
struct Codes {
    places: BTreeMap<String, Place>,
}

impl Codes {
    fn take(&mut self, node: &Node<'_>, place: Place) -> Result<String, Fault> {
        let node = node.required("code")?;
        let code = node.code()?;
        if self.places.len() == limits::FRAMEWORK_ITEMS_MAX {
            let most = limits::FRAMEWORK_ITEMS_MAX;
            return Err(node.fault(format!(
                "is beyond the {most} components, indicators and rows that a framework may have"
            )));
        }
        if self.places.insert(code.to_owned(), place).is_some() {
            return Err(node.fault(format!("'{code}' is used twice")));
        }
        Ok(code.to_owned())
    }
}

fn component(node: &Node<'_>, position: usize, codes: &mut Codes) -> Result<Component, Fault> {
    let place = Place {
        component: position,
        indicator: None,
        row: None,
    };
    let code = codes.take(node, place)?;
    let title = label(&node.required("title")?)?;
    let weight = weight(node)?;
    let nodes = node
        .required("indicators")?
        .items(limits::FRAMEWORK_ITEMS_MAX)?;
    let mut indicators = Vec::with_capacity(nodes.len());
    for (position, node) in nodes.iter().enumerate() {
        let place = Place {
            indicator: Some(position),
            ..place
        };
        indicators.push(indicator(node, place, codes)?);
    }
    Ok(Component {
        code,
        title,
        weight,
        indicators,
    })
}

fn indicator(node: &Node<'_>, place: Place, codes: &mut Codes) -> Result<Indicator, Fault> {
    let code = codes.take(node, place)?;
    let nodes = match node.optional("rows")? {
        Some(rows) => rows.items(limits::FRAMEWORK_ITEMS_MAX)?,
        None => Vec::new(),
    };
    let mut rows = Vec::with_capacity(nodes.len());
    for (position, node) in nodes.iter().enumerate() {
        let place = Place {
            row: Some(position),
            ..place
        };
        rows.push(row(node, place, &code, codes)?);
    }
    Ok(Indicator {
        number: node
            .optional("number")?
            .map(|number| number.whole())
            .transpose()?,
        title: label(&node.required("title")?)?,
        weight: weight(node)?,
        code,
        rows,
    })
}

fn row(node: &Node<'_>, place: Place, indicator: &str, codes: &mut Codes) -> Result<Row, Fault> {
    let code = codes.take(node, place)?;
    let below = code
        .strip_prefix(indicator)
        .and_then(|rest| rest.strip_prefix('.'));
    if below.is_none_or(str::is_empty) {
        return Err(node.required("code")?.fault(format!(
            "'{code}' does not belong to indicator {indicator}: expected {indicator}. and a number"
        )));
    }
    Ok(Row {
        code,
        title: label(&node.required("title")?)?,
    })
}

/// A weight must be spelled out even where it is null, so that a mistyped key is not taken for a
/// weight that nobody published.
fn weight(node: &Node<'_>) -> Result<Weight, Fault> {
    let value = node.required("weight")?;
    let points = (!value.is_null()).then(|| value.amount()).transpose()?;
    let status = node
        .optional("weight_status")?
        .map(|status| status.code().map(str::to_owned))
        .transpose()?;
    if points.is_none() && status.as_deref() == Some("official") {
        return Err(value.fault("is null although weight_status says official"));
    }
    Ok(Weight { points, status })
}

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

fn id_well_formed(id: &str) -> bool {
    id.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn version_well_formed(version: &str) -> bool {
    version
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-' | b'_'))
}

#[cfg(test)]
mod tests;
