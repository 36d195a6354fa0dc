//! Who may do what: one pure function, the same on the server and on every device.
//!
//! A [`Grant`] is a role on a scope and reaches everything below it. [`decide`] answers whether a
//! person's grants allow an act on a kind of document in a scope; [`audience`] and
//! [`subscriptions`] answer what a person's devices receive. The rules are one match,
//! `allowed_roles`, and a table in the tests states them a second time.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::envelope::DocumentKind;
use crate::placement::{Lineage, Placements};
use crate::scope::Scope;

/// What a person is to the programme within a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Collects evidence: village or agency staff and those who help them.
    #[n(0)]
    Officer,
    /// Leads the unit: works as an officer, and signs.
    #[n(1)]
    UnitHead,
    /// Checks evidence and decides on it.
    #[n(2)]
    Verifier,
    /// Scores indicators with a reason.
    #[n(3)]
    Assessor,
    /// Runs the programme: people, units and reference material, never evidence.
    #[n(4)]
    Administrator,
    /// Looks.
    #[n(5)]
    Observer,
}

/// A word that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a role: expected officer, unit-head, verifier, assessor, administrator or observer"
)]
pub struct ParseRoleError {
    /// What was given, cut to 80 characters.
    pub text: String,
}

impl Role {
    /// Every role, in the order in which evidence passes through their hands.
    pub const ALL: [Self; 6] = [
        Self::Officer,
        Self::UnitHead,
        Self::Verifier,
        Self::Assessor,
        Self::Administrator,
        Self::Observer,
    ];

    /// The word used in commands, records and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Officer => "officer",
            Self::UnitHead => "unit-head",
            Self::Verifier => "verifier",
            Self::Assessor => "assessor",
            Self::Administrator => "administrator",
            Self::Observer => "observer",
        }
    }

    /// The name in English, as it stands in a sentence.
    pub fn label_en(self) -> &'static str {
        match self {
            Self::Officer => "officer",
            Self::UnitHead => "unit head",
            Self::Verifier => "verifier",
            Self::Assessor => "assessor",
            Self::Administrator => "administrator",
            Self::Observer => "observer",
        }
    }

    /// The name in Indonesian, as it stands in a sentence.
    pub fn label_id(self) -> &'static str {
        match self {
            Self::Officer => "petugas",
            Self::UnitHead => "kepala unit",
            Self::Verifier => "verifikator",
            Self::Assessor => "penilai",
            Self::Administrator => "administrator",
            Self::Observer => "pengamat",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, ParseRoleError> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| ParseRoleError {
                text: text.chars().take(80).collect(),
            })
    }
}

impl serde::Serialize for Role {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A role on a scope and everything below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, serde::Serialize)]
#[cbor(array)]
pub struct Grant {
    /// What the person is there.
    #[n(0)]
    pub role: Role,
    /// Where.
    #[n(1)]
    pub scope: Scope,
}

impl Grant {
    /// Whether it gives all that `other` gives, as units stand.
    pub fn includes(&self, other: &Self, placements: &Placements) -> bool {
        self.role == other.role && placements.lineage(&other.scope).is_below(&self.scope)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.role, self.scope)
    }
}

/// What a person wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// See a document that was declared ready.
    Read,
    /// See a document before it was ever declared ready.
    ReadDraft,
    /// Start a document.
    Create,
    /// Change a document.
    Edit,
    /// Declare a document ready for review.
    DeclareReady,
    /// Add a file.
    Attach,
    /// Hide a document, with a reason.
    Withdraw,
    /// State a self-assessment or a submission.
    Sign,
    /// State that evidence is returned, accepted or rejected.
    Decide,
    /// State a score.
    Score,
    /// Change people, grants, units, regions, frameworks and limits.
    Administer,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 11] = [
        Self::Read,
        Self::ReadDraft,
        Self::Create,
        Self::Edit,
        Self::DeclareReady,
        Self::Attach,
        Self::Withdraw,
        Self::Sign,
        Self::Decide,
        Self::Score,
        Self::Administer,
    ];
}

/// A refusal, as one sentence for the person who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// What was asked.
    pub action: Action,
    /// On what kind of document.
    pub kind: DocumentKind,
    /// Where.
    pub scope: Scope,
    /// The roles that the person does hold there, each once.
    pub held: Vec<Role>,
}

impl Denied {
    /// Whether it is denied to everybody, whatever their grants: no server ever accepted it.
    pub fn is_to_everybody(&self) -> bool {
        allowed_roles(self.action, self.kind).is_empty()
    }
}

/// Decides whether `grants` allow `action` on a document of `kind` in `scope`.
///
/// Acceptance calls it with the kind and scope of the root envelope. [`Action::Sign`],
/// [`Action::Decide`] and [`Action::Score`] create a statement of that meaning, so they are asked
/// with [`DocumentKind::Statement`]; [`Action::Create`] is the same question before the meaning is
/// known. That a statement has a single writer is for validation to check, since a grant does not
/// say who wrote what. [`Action::Administer`] is about a scope and ignores the kind. Where units were
/// moved, `at` is the scope's lineage by then.
///
/// # Errors
/// [`Denied`], if no grant that reaches the scope carries a role for this act.
pub fn decide(
    grants: &[Grant],
    action: Action,
    kind: DocumentKind,
    at: impl Into<Lineage>,
) -> Result<(), Denied> {
    let lineage = at.into();
    let held = roles(grants, &lineage);
    let allowed = allowed_roles(action, kind);
    if held.iter().any(|role| allowed.contains(role)) {
        return Ok(());
    }
    Err(Denied {
        action,
        kind,
        scope: lineage.scope().clone(),
        held,
    })
}

fn roles(grants: &[Grant], lineage: &Lineage) -> Vec<Role> {
    let mut held: Vec<Role> = grants
        .iter()
        .filter(|grant| lineage.is_below(&grant.scope))
        .map(|grant| grant.role)
        .collect();
    held.sort_unstable();
    held.dedup();
    held
}

/// The rules. Reading does not depend on the kind, because feeds know audiences and not kinds.
///
/// A document that nobody classified may hold evidence, so it is guarded as evidence. Reference
/// material speaks for the programme, so only its administrators write it. A statement is written
/// whole by whoever makes it, and what follows it is another statement: nobody edits one.
fn allowed_roles(action: Action, kind: DocumentKind) -> &'static [Role] {
    use Role::{Administrator, Assessor, Officer, UnitHead, Verifier};
    const UNIT: &[Role] = &[Officer, UnitHead];
    match (action, kind) {
        (Action::Read, _) => &Role::ALL,
        (Action::ReadDraft, _) => UNIT,
        (Action::Administer, _) => &[Administrator],
        (
            Action::Create
            | Action::Edit
            | Action::DeclareReady
            | Action::Attach
            | Action::Withdraw,
            DocumentKind::Evidence | DocumentKind::Unclassified,
        ) => UNIT,
        (
            Action::Create
            | Action::Edit
            | Action::DeclareReady
            | Action::Attach
            | Action::Withdraw,
            DocumentKind::Reference,
        ) => &[Administrator],
        (Action::Create, DocumentKind::Statement) => &[UnitHead, Verifier, Assessor],
        (Action::Sign, DocumentKind::Statement) => &[UnitHead],
        (Action::Decide, DocumentKind::Statement) => &[Verifier],
        (Action::Score, DocumentKind::Statement) => &[Assessor],
        (
            Action::Edit | Action::DeclareReady | Action::Attach | Action::Withdraw,
            DocumentKind::Statement,
        )
        | (
            Action::Sign | Action::Decide | Action::Score,
            DocumentKind::Evidence | DocumentKind::Reference | DocumentKind::Unclassified,
        ) => &[],
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.held.as_slice() {
            [] => f.write_str("someone without a role there")?,
            [first, ..] => {
                let article = match first {
                    Role::Officer | Role::Assessor | Role::Administrator | Role::Observer => "an",
                    Role::UnitHead | Role::Verifier => "a",
                };
                write!(f, "{article} {}", list(&self.held, "and"))?;
            }
        }
        let act = act(self.action, self.kind);
        write!(f, " may not {act} {}: ", self.scope)?;
        match allowed_roles(self.action, self.kind) {
            [] => f.write_str("no role may"),
            allowed => write!(f, "only {} may", list(allowed, "or")),
        }
    }
}

impl std::error::Error for Denied {}

fn list(roles: &[Role], last: &str) -> String {
    let names: Vec<&str> = roles.iter().map(|role| role.label_en()).collect();
    match names.split_last() {
        None => String::new(),
        Some((only, [])) => (*only).to_owned(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}

/// The act as words that a scope can follow.
fn act(action: Action, kind: DocumentKind) -> String {
    let object = match kind {
        DocumentKind::Evidence => "evidence of",
        DocumentKind::Statement => "statements of",
        DocumentKind::Reference => "reference material of",
        DocumentKind::Unclassified => "unclassified documents of",
    };
    match action {
        Action::Read => format!("read {object}"),
        Action::ReadDraft => format!("read drafts of {object}"),
        Action::Create => format!("create {object}"),
        Action::Edit => format!("edit {object}"),
        Action::DeclareReady => format!("declare ready {object}"),
        Action::Attach => format!("attach files to {object}"),
        Action::Withdraw => format!("withdraw {object}"),
        Action::Sign => format!("sign within {object}"),
        Action::Decide => format!("decide within {object}"),
        Action::Score => format!("score within {object}"),
        Action::Administer => "administer".to_owned(),
    }
}

/// Who receives a document: drafts stay within the unit, what was ever ready goes to all readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Audience {
    /// Officers and unit heads, who see drafts as well.
    #[n(0)]
    Unit,
    /// Everyone with any role on the scope.
    #[n(1)]
    All,
}

impl Audience {
    /// The word used in commands and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::All => "all",
        }
    }

    /// Whether whoever is in this audience receives everything that `other` receives.
    pub fn includes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Unit, Self::Unit | Self::All) | (Self::All, Self::All) => true,
            (Self::All, Self::Unit) => false,
        }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl serde::Serialize for Audience {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

fn audience_of(role: Role) -> Audience {
    match role {
        Role::Officer | Role::UnitHead => Audience::Unit,
        Role::Verifier | Role::Assessor | Role::Administrator | Role::Observer => Audience::All,
    }
}

/// The widest audience of a scope to which `grants` admit, or nothing without a role there.
pub fn audience(grants: &[Grant], at: impl Into<Lineage>) -> Option<Audience> {
    roles(grants, &at.into()).into_iter().map(audience_of).min()
}

/// The fewest (scope prefix, audience) that carry everything `grants` let a device receive, in
/// order of scope.
///
/// An entry lies inside another only where it adds drafts to it: `unit` on a narrower scope inside
/// `all` on a broader one.
pub fn subscriptions(grants: &[Grant], placements: &Placements) -> Vec<(Scope, Audience)> {
    let mut entries: Vec<(Scope, Audience)> = grants
        .iter()
        .map(|grant| (grant.scope.clone(), audience_of(grant.role)))
        .collect();
    entries.sort_unstable();
    entries.dedup();
    let swallowed = |entry: &(Scope, Audience)| {
        let lineage = placements.lineage(&entry.0);
        entries
            .iter()
            .any(|other| other != entry && lineage.is_below(&other.0) && other.1.includes(entry.1))
    };
    entries
        .iter()
        .filter(|entry| !swallowed(entry))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests;
