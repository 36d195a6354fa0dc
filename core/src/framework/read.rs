//! Reading a framework from JSON, from the outermost object down to rows.

use std::collections::BTreeMap;

use super::reference::{id_well_formed, version_well_formed};
use super::{Component, Framework, Indicator, Label, Pass, PassRule, Place, Row, Weight};
use crate::json::{self, Fault, Node};
use crate::limits;
use crate::region::UnitType;

pub(super) fn framework(bytes: &[u8]) -> Result<Framework, Fault> {
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
        source,
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
