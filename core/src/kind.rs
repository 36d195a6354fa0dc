//! Kinds of evidence and their fields, as data in `core/kinds.json`.
//!
//! No kind has a struct of its own: a [`Kind`] lists its [`Field`]s, and [`Field::parse`] turns
//! what a person typed into a [`FieldValue`] or says what was expected, with an example. A field
//! that would be called *kind* within a kind is called `subtype`.

use std::collections::BTreeSet;
use std::fmt;

use crate::framework::{Label, label};
use crate::json::{self, Fault, Node};
use crate::limits;

mod value;

pub use value::{FieldError, FieldValue};

/// The kinds of evidence that are known.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Kinds {
    kinds: Vec<Kind>,
}

/// A kind of evidence.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Kind {
    /// Its code such as `public-display`.
    pub code: String,
    /// Its name for people.
    pub label: Label,
    /// Its fields in the order in which a form shows them.
    pub fields: Vec<Field>,
}

/// One field of a kind.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Field {
    /// Its code such as `fiscal_year`, unique in the kind.
    pub code: String,
    /// Its name for people.
    pub label: Label,
    /// What it holds.
    #[serde(flatten)]
    pub value_type: FieldType,
    /// Whether evidence without it is incomplete.
    pub required: bool,
}

/// What a field holds, and so how it merges.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "type", content = "options", rename_all = "lowercase")]
pub enum FieldType {
    /// One line, replaced as a whole.
    String,
    /// Several lines, merged by character.
    Text,
    /// A whole number.
    Integer,
    /// A number with an exact decimal fraction.
    Decimal,
    /// A day.
    Date,
    /// Yes or no.
    Boolean,
    /// One of these options.
    Choice(Vec<ChoiceOption>),
    /// Several lines, merged by item.
    List,
    /// A whole number for each of several groups.
    Counts,
}

impl FieldType {
    /// The word used in the kinds file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Decimal => "decimal",
            Self::Date => "date",
            Self::Boolean => "boolean",
            Self::Choice(_) => "choice",
            Self::List => "list",
            Self::Counts => "counts",
        }
    }
}

/// One option of a choice.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ChoiceOption {
    /// What is stored.
    pub code: String,
    /// What people see.
    pub label: Label,
}

/// A kinds file that cannot be used: which file, which place, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindError {
    /// The file as it was named.
    pub file: String,
    /// Path in the JSON such as `kinds[2].fields[0].type`; empty for the whole file.
    pub path: String,
    /// What is wrong there.
    pub reason: String,
}

impl fmt::Display for KindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        json::write_fault(f, &self.file, &self.path, &self.reason)
    }
}

impl std::error::Error for KindError {}

impl Kinds {
    /// The kinds that come with the project.
    pub fn built_in() -> Self {
        Self::from_json("kinds.json", include_bytes!("../kinds.json"))
            .expect("the file is part of the program and a test reads it")
    }

    /// Reads and checks the file called `name`.
    ///
    /// # Errors
    /// [`KindError`] with the first fault.
    pub fn from_json(name: &str, bytes: &[u8]) -> Result<Self, KindError> {
        read(bytes).map_err(|Fault { path, reason }| KindError {
            file: name.to_owned(),
            path,
            reason,
        })
    }

    /// A kind by its code.
    pub fn kind(&self, code: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.code == code)
    }

    /// Every kind in order.
    pub fn iter(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.iter()
    }
}

impl Kind {
    /// A field by its code.
    pub fn field(&self, code: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.code == code)
    }

    /// The required fields that are not among the codes of those `present`.
    pub fn missing_required(&self, present: &[&str]) -> Vec<&Field> {
        self.fields
            .iter()
            .filter(|field| field.required && !present.contains(&field.code.as_str()))
            .collect()
    }
}

fn read(bytes: &[u8]) -> Result<Kinds, Fault> {
    let source = json::parse(bytes, limits::KINDS_BYTES_MAX)?;
    let nodes = Node::root(&source).required("kinds")?;
    let kinds = each(&nodes, |node| {
        Ok(Kind {
            code: node.required("code")?.code()?.to_owned(),
            label: label(&node.required("label")?)?,
            fields: each(&node.required("fields")?, field)?,
        })
    })?;
    unique(&nodes, kinds.iter().map(|kind| kind.code.as_str()))?;
    for (node, kind) in nodes.items(limits::KIND_ITEMS_MAX)?.iter().zip(&kinds) {
        let fields = node.required("fields")?;
        unique(&fields, kind.fields.iter().map(|field| field.code.as_str()))?;
    }
    Ok(Kinds { kinds })
}

fn field(node: &Node<'_>) -> Result<Field, Fault> {
    let code = node.required("code")?;
    if code.code()? == "kind" {
        return Err(code.fault("'kind' names the kind itself: call the field subtype"));
    }
    Ok(Field {
        code: code.code()?.to_owned(),
        label: label(&node.required("label")?)?,
        value_type: value_type(node)?,
        required: node.required("required")?.boolean()?,
    })
}

fn value_type(node: &Node<'_>) -> Result<FieldType, Fault> {
    let word = node.required("type")?;
    let value_type = match word.code()? {
        "string" => FieldType::String,
        "text" => FieldType::Text,
        "integer" => FieldType::Integer,
        "decimal" => FieldType::Decimal,
        "date" => FieldType::Date,
        "boolean" => FieldType::Boolean,
        "choice" => FieldType::Choice(options(&node.required("options")?)?),
        "list" => FieldType::List,
        "counts" => FieldType::Counts,
        other => {
            return Err(word.fault(format!(
                "'{other}' is not a type: expected string, text, integer, decimal, date, \
                 boolean, choice, list or counts"
            )));
        }
    };
    let takes_options = matches!(value_type, FieldType::Choice(_));
    match node.optional("options")? {
        Some(options) if !takes_options => Err(options.fault("only a choice has options")),
        Some(_) | None => Ok(value_type),
    }
}

fn options(node: &Node<'_>) -> Result<Vec<ChoiceOption>, Fault> {
    let options = each(node, |option| {
        Ok(ChoiceOption {
            code: option.required("code")?.code()?.to_owned(),
            label: label(&option.required("label")?)?,
        })
    })?;
    unique(node, options.iter().map(|option| option.code.as_str()))?;
    Ok(options)
}

/// Reads a list that has at least one item.
fn each<T>(list: &Node<'_>, read: impl Fn(&Node<'_>) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    let items = list.items(limits::KIND_ITEMS_MAX)?;
    if items.is_empty() {
        return Err(list.fault("has no item"));
    }
    items.iter().map(read).collect()
}

fn unique<'c>(list: &Node<'_>, codes: impl Iterator<Item = &'c str>) -> Result<(), Fault> {
    let mut seen = BTreeSet::new();
    for (node, code) in list.items(limits::KIND_ITEMS_MAX)?.iter().zip(codes) {
        if !seen.insert(code) {
            let code_node = node.required("code")?;
            return Err(code_node.fault(format!("'{code}' is used twice")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
