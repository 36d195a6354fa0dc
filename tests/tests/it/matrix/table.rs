//! The rules once more, by hand: who reads and writes what, what lies where, and what each device
//! is granted at each moment. Nothing here asks the program.
//!
//! Roles and their rights are those of the programme. What it leaves open is decided here as the
//! architecture does: whoever decides, scores or signs makes a statement; a statement is published
//! by being made, and nobody changes it; reference material is the administrators'.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bukti_core::envelope::DocumentKind;

/// Every role.
pub(super) const ROLES: [&str; 6] = [
    "officer",
    "unit-head",
    "verifier",
    "assessor",
    "administrator",
    "observer",
];

/// Nobody's place: nothing is ever written there.
pub(super) const ELSEWHERE: &str = "99";

/// A village, which every device's reach is drawn around, and a part of it.
pub(super) const VILLAGE: &str = "13.07.05.2001";
const PART: &str = "13.07.05.2001/pkk";
/// A village beside it.
const BESIDE: &str = "13.07.05.2002";
/// A village of the same regency that moves to the city and back: where it belongs and goes.
pub(super) const MOVING_VILLAGE: [&str; 3] = ["13.07.01.2003", "13.07.01", "13.76.01"];
/// An agency of the city that moves to the regency and back.
pub(super) const MOVING_AGENCY: [&str; 3] = ["13.76/pupr", "13.76", "13.07"];
const AGENCY: &str = "13.76/dinkes";
const WARD: &str = "13.76.01.1003";

/// What a grant on the scope to the left reaches: `x` always, `h` while the moving village and the
/// moving agency stand where they belong, `a` while they do not.
const REACH: &str = "
                  all 13 13.07 13.07.05.2001 13.07.05.2001/pkk 13.07.05.2002 13.07.01.2003 13.76 13.76/dinkes 13.76/pupr 13.76.01.1003 12.07.28.1007
all                x  x    x        x               x               x             x          x        x           x           x             x
13                 .  x    x        x               x               x             x          x        x           x           x             .
13.07              .  .    x        x               x               x             h          .        .           a           .             .
13.07.05           .  .    .        x               x               x             .          .        .           .           .             .
13.07.05.2001      .  .    .        x               x               .             .          .        .           .           .             .
13.07.05.2001/pkk  .  .    .        .               x               .             .          .        .           .           .             .
13.07.05.2002      .  .    .        .               .               x             .          .        .           .           .             .
13.07.05.2002/pkk  .  .    .        .               .               .             .          .        .           .           .             .
13.76              .  .    .        .               .               .             a          x        x           h           x             .
13.76/dinkes       .  .    .        .               .               .             .          .        x           .           .             .
13.76/pupr         .  .    .        .               .               .             .          .        .           x           .             .
13.76.01.1003      .  .    .        .               .               .             .          .        .           .           x             .
12.07              .  .    .        .               .               .             .          .        .           .           .             x
99                 .  .    .        .               .               .             .          .        .           .           .             .
";

/// Who reads what is a draft, and what was published.
const READS: &str = "
               draft published
officer          x       x
unit-head        x       x
verifier         .       x
assessor         .       x
administrator    .       x
observer         .       x
";

/// Who writes what. The acts are those that a server can tell apart: to sign, to decide and to
/// score is to make a statement.
const WRITES: &str = "
               create publish edit attach ready withdraw
evidence
officer          x       x     x     x      x      x
unit-head        x       x     x     x      x      x
verifier         .       .     .     .      .      .
assessor         .       .     .     .      .      .
administrator    .       .     .     .      .      .
observer         .       .     .     .      .      .
statement
officer          .       .     .     .      .      .
unit-head        x       x     .     .      .      .
verifier         x       x     .     .      .      .
assessor         x       x     .     .      .      .
administrator    .       .     .     .      .      .
observer         .       .     .     .      .      .
reference
officer          .       .     .     .      .      .
unit-head        .       .     .     .      .      .
verifier         .       .     .     .      .      .
assessor         .       .     .     .      .      .
administrator    x       x     x     x      x      x
observer         .       .     .     .      .      .
";

/// What a device is granted: roles and scopes.
pub(super) type Grants = Vec<(&'static str, &'static str)>;

/// How a device's grants lie to the places. What is said of its own role; `observes` is granted
/// as observer besides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    scopes: &'static [&'static str],
    observes: &'static [&'static str],
    /// What is left of it.
    narrowed: &'static [&'static str],
    /// What more it may come to, and observe besides.
    added: (&'static [&'static str], &'static [&'static str]),
}

const fn shape(
    name: &'static str,
    scopes: &'static [&'static str],
    narrowed: &'static [&'static str],
    added: &'static [&'static str],
) -> Shape {
    Shape {
        name,
        scopes,
        observes: &[],
        narrowed,
        added: (added, &[]),
    }
}

pub(super) const SHAPES: [Shape; 10] = [
    shape("a village", &[VILLAGE], &[PART], &[VILLAGE, AGENCY]),
    shape(
        "a district",
        &["13.07.05"],
        &[VILLAGE],
        &["13.07.05", "13.76"],
    ),
    shape("a regency", &["13.07"], &["13.07.05"], &["13.07", "12.07"]),
    shape("a province", &["13"], &["13.07"], &["13", "12.07"]),
    shape("everything", &["all"], &["13"], &["all", "13.07"]),
    shape("a city", &["13.76"], &[AGENCY], &["13.76", BESIDE]),
    shape(
        "two agencies",
        &[AGENCY, "13.76/pupr"],
        &[AGENCY],
        &[AGENCY, "13.76/pupr", WARD],
    ),
    shape(
        "the village beside",
        &[BESIDE],
        &["13.07.05.2002/pkk"],
        &[BESIDE, VILLAGE],
    ),
    shape(
        "a village and an agency",
        &[VILLAGE, AGENCY],
        &[VILLAGE],
        &[VILLAGE, AGENCY, "13.07.05"],
    ),
    Shape {
        name: "a village in an observed regency",
        scopes: &[VILLAGE],
        observes: &["13.07"],
        narrowed: &[VILLAGE],
        added: (&[VILLAGE, AGENCY], &["13.07", "13.76"]),
    },
];

/// What happened to a device's grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is enrolled, with nothing that reaches any place.
    Before,
    Granted,
    Narrowed,
    Added,
    Removed,
    /// It observes what it worked in.
    Demoted,
}

/// Who holds a device.
#[derive(Debug, Clone, Copy)]
pub(super) enum Person {
    /// Is never granted anything.
    Nobody,
    Of(&'static str, Shape),
}

impl Person {
    /// One without a role, and every role in every shape.
    pub(super) fn everybody() -> Vec<Self> {
        let of_role = |role| SHAPES.into_iter().map(move |shape| Self::Of(role, shape));
        let all = ROLES.into_iter().flat_map(of_role);
        std::iter::once(Self::Nobody).chain(all).collect()
    }

    /// The role that it is invited with.
    pub(super) fn role(self) -> &'static str {
        match self {
            Self::Nobody => "observer",
            Self::Of(role, _) => role,
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Nobody => "nobody".to_owned(),
            Self::Of(role, shape) => format!("{role} of {}", shape.name),
        }
    }

    /// What is granted at a moment, each once.
    pub(super) fn grants(self, standing: Standing) -> Grants {
        let before = (self.role(), ELSEWHERE);
        let Self::Of(role, shape) = self else {
            return match standing {
                Standing::Before => vec![before],
                Standing::Granted
                | Standing::Narrowed
                | Standing::Added
                | Standing::Removed
                | Standing::Demoted => Vec::new(),
            };
        };
        let (own, observed): (&[&str], &[&str]) = match standing {
            Standing::Before => return vec![before],
            Standing::Granted => (shape.scopes, shape.observes),
            Standing::Narrowed => (shape.narrowed, &[]),
            Standing::Added => shape.added,
            Standing::Removed => (&[], &[]),
            Standing::Demoted => {
                let scopes = shape.scopes.iter().chain(shape.observes);
                return scopes.map(|scope| ("observer", *scope)).collect();
            }
        };
        let own = own.iter().map(|scope| (role, *scope));
        let observed = observed.iter().map(|scope| ("observer", *scope));
        own.chain(observed).collect()
    }
}

/// An act on a document, as it can be told from what is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Act {
    /// Begins a draft.
    Create,
    /// Begins a document that is ready at once.
    Publish,
    Edit,
    Attach,
    Ready,
    Withdraw,
}

impl Act {
    pub(super) const ALL: [Self; 6] = [
        Self::Create,
        Self::Publish,
        Self::Edit,
        Self::Attach,
        Self::Ready,
        Self::Withdraw,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Publish => "publish",
            Self::Edit => "edit",
            Self::Attach => "attach",
            Self::Ready => "ready",
            Self::Withdraw => "withdraw",
        }
    }
}

/// Kinds of document that a device may give.
pub(super) const KINDS: [DocumentKind; 3] = [
    DocumentKind::Evidence,
    DocumentKind::Statement,
    DocumentKind::Reference,
];

/// The places in which something is written.
pub(super) fn places() -> Vec<&'static str> {
    let header = REACH.lines().find(|line| !line.is_empty());
    header.into_iter().flat_map(str::split_whitespace).collect()
}

/// Whether `grants` let a device have a document in `place`, while units are `away` or where they
/// belong.
pub(super) fn reads(grants: &Grants, place: &'static str, published: bool, away: bool) -> bool {
    static ROLES: LazyLock<Marks> = LazyLock::new(|| marks(READS));
    let state = if published { "published" } else { "draft" };
    let mut roles = roles(grants, place, away);
    roles.any(|role| ROLES[&("", role, state)] == "x")
}

/// Whether `grants` let a device do this.
pub(super) fn writes(
    grants: &Grants,
    kind: DocumentKind,
    act: Act,
    place: &'static str,
    away: bool,
) -> bool {
    static ROLES: LazyLock<Marks> = LazyLock::new(|| marks(WRITES));
    let mut roles = roles(grants, place, away);
    roles.any(|role| ROLES[&(kind.as_str(), role, act.word())] == "x")
}

/// The roles that reach a place.
fn roles(grants: &Grants, place: &'static str, away: bool) -> impl Iterator<Item = &'static str> {
    static REACHED: LazyLock<Marks> = LazyLock::new(|| marks(REACH));
    let reaching = grants
        .iter()
        .filter(move |(_, scope)| match REACHED[&("", *scope, place)] {
            "x" => true,
            "h" => !away,
            "a" => away,
            "." => false,
            other => panic!("'{other}' says nothing"),
        });
    reaching.map(|(role, _)| *role)
}

/// Section, row and column of a table, and what stands there.
type Marks = BTreeMap<(&'static str, &'static str, &'static str), &'static str>;

fn marks(table: &'static str) -> Marks {
    let mut lines = table.lines().filter(|line| !line.is_empty());
    let columns: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let mut section = "";
    let mut marks = Marks::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [word] = words[..] {
            section = word;
            continue;
        }
        assert_eq!(words.len(), 1 + columns.len(), "{line}");
        for (column, mark) in columns.iter().zip(&words[1..]) {
            marks.insert((section, words[0], *column), *mark);
        }
    }
    marks
}
