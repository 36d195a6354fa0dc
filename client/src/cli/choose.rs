//! What a command means where a person leaves something out or names it in short.

use std::collections::BTreeSet;

use bukti_command::show::show_time;
use bukti_core::authority::{Action, Grant, decide};
use bukti_core::envelope::DocumentKind;
use bukti_core::framework::{Framework, FrameworkRef, Item};
use bukti_core::id::{DocumentId, WallMs};
use bukti_core::placement::Placements;
use bukti_core::region::{Regions, UnitType};
use bukti_core::scope::{RegionLevel, Scope};

use super::failure::Failure;

/// Characters of an id from which it may be given by its beginning.
const ID_PREFIX_MIN: usize = 6;

/// Years that a cycle may have; the programmes began in 2021.
const CYCLES: std::ops::RangeInclusive<i32> = 2000..=2099;

/// How far a device's clock may be ahead of the server's last known time: longer than a season
/// without a link.
const CLOCK_AHEAD_MAX_MS: WallMs = 400 * 24 * 60 * 60 * 1000;

/// The one document of `known` whose id begins with `typed`.
pub(super) fn document(
    typed: &str,
    known: impl IntoIterator<Item = DocumentId>,
) -> Result<DocumentId, Failure> {
    if typed.len() < ID_PREFIX_MIN || !typed.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let given: String = typed.chars().take(80).collect();
        return Err(Failure::Wrong(format!(
            "'{given}' is not an id: expected the id of a piece of evidence, or at least its first \
             {ID_PREFIX_MIN} characters"
        )));
    }
    let mut found: Vec<(String, DocumentId)> = known
        .into_iter()
        .map(|id| (id.to_string(), id))
        .filter(|(text, _id)| text.starts_with(typed))
        .collect();
    found.sort_unstable();
    match found.as_slice() {
        [(_text, id)] => Ok(*id),
        [] => Err(Failure::Wrong(format!(
            "no evidence here has an id that begins with '{typed}': expected one of 'bukti evidence list'"
        ))),
        several => {
            let names: Vec<&str> = several
                .iter()
                .take(5)
                .map(|(text, _id)| text.as_str())
                .collect();
            let more = if several.len() > names.len() {
                ", …"
            } else {
                ""
            };
            Err(Failure::Wrong(format!(
                "'{typed}' begins {} ids, expected more of one of {}{more}",
                several.len(),
                names.join(", ")
            )))
        }
    }
}

/// Where new evidence belongs: `typed`, or the only scope of the grants in which one may create it.
pub(super) fn scope(
    typed: Option<&str>,
    grants: &[Grant],
    placements: &Placements,
    regions: &Regions,
) -> Result<Scope, Failure> {
    let Some(typed) = typed else {
        return only_scope(grants);
    };
    let scope: Scope = typed.parse().map_err(Failure::wrong)?;
    let lineage = placements.lineage(&scope);
    decide(grants, Action::Create, DocumentKind::Evidence, lineage)
        .map_err(|denied| Failure::Wrong(format!("{denied}; your grants: {}", list(grants))))?;
    known(&scope, placements, regions)?;
    Ok(scope)
}

fn only_scope(grants: &[Grant]) -> Result<Scope, Failure> {
    let scopes: BTreeSet<&Scope> = grants
        .iter()
        .map(|grant| &grant.scope)
        .filter(|scope| decide(grants, Action::Create, DocumentKind::Evidence, *scope).is_ok())
        .collect();
    let mut scopes = scopes.into_iter();
    match (scopes.next(), scopes.next()) {
        (None, _) => Err(Failure::Wrong(format!(
            "your grants do not allow new evidence: {}; expected officer or unit-head",
            list(grants)
        ))),
        (Some(all), None) if all.is_all() => Err(Failure::Wrong(
            "your grant covers every region: expected --region with one such as 13.76.01.1001"
                .into(),
        )),
        (Some(only), None) => Ok(only.clone()),
        (Some(first), Some(second)) => {
            let names: Vec<&str> = [first, second]
                .into_iter()
                .chain(scopes)
                .map(Scope::as_str)
                .collect();
            Err(Failure::Wrong(format!(
                "several regions are possible: expected --region with one of {}",
                names.join(", ")
            )))
        }
    }
}

/// Refuses a code that the official list, where it is here, does not have: evidence can never be
/// moved out of a region that was mistyped.
fn known(scope: &Scope, placements: &Placements, regions: &Regions) -> Result<(), Failure> {
    let region = scope
        .self_and_ancestors()
        .find(|step| step.agency().is_none());
    let (Some(region), Some(parent)) = (&region, region.as_ref().and_then(Scope::parent)) else {
        return Ok(());
    };
    let listed = regions.children(&parent).next().is_some();
    if !listed || regions.region(region).is_some() {
        return Ok(());
    }
    Err(Failure::Wrong(format!(
        "{region} is not in the list of regions: expected one within {}",
        regions.path_name(&parent, placements)
    )))
}

fn list(grants: &[Grant]) -> String {
    match grants {
        [] => "none".to_owned(),
        grants => grants
            .iter()
            .map(Grant::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// The framework that evidence of `scope` is for: `typed`, or the only one in use that assesses
/// the unit or what the unit is part of. Where several do, the rows named may tell.
pub(super) fn framework<'f>(
    typed: Option<&FrameworkRef>,
    scope: &Scope,
    codes: &[String],
    in_use: &'f [Framework],
) -> Result<&'f Framework, Failure> {
    if in_use.is_empty() {
        return Err(Failure::Failed(
            "no framework is on this device yet: run 'bukti sync' where there is a link".into(),
        ));
    }
    if let Some(typed) = typed {
        let found = only(
            in_use.iter().filter(|framework| typed.matches(framework)),
            || {
                format!(
                    "'{typed}' is not a framework in use: expected one of {}",
                    names(in_use)
                )
            },
        )?;
        return match reaches(found, scope) {
            true => Ok(found),
            false => Err(Failure::Wrong(format!(
                "{} assesses {}: {scope} is none and is part of none",
                found.reference(),
                units(found)
            ))),
        };
    }
    let exact: Vec<&Framework> = in_use
        .iter()
        .filter(|framework| framework.assesses(scope))
        .collect();
    let mut candidates = match exact.is_empty() {
        false => exact,
        true => in_use
            .iter()
            .filter(|framework| reaches(framework, scope))
            .collect(),
    };
    if candidates.len() > 1 && !codes.is_empty() {
        let has_all =
            |framework: &&Framework| codes.iter().all(|code| framework.find(code).is_some());
        let telling: Vec<&Framework> = candidates.iter().copied().filter(has_all).collect();
        if !telling.is_empty() {
            candidates = telling;
        }
    }
    only(candidates, || {
        format!(
            "no framework in use assesses {scope}: expected --region of a unit that one of {} does",
            names(in_use)
        )
    })
}

/// The framework whose coverage is asked for where no single unit is meant: `typed`, or the only
/// one in use that assesses any of `scopes`, else the only one in use. The code asked for may tell.
pub(super) fn framework_of_any<'f>(
    typed: Option<&FrameworkRef>,
    scopes: &[Scope],
    codes: &[String],
    in_use: &'f [Framework],
) -> Result<&'f Framework, Failure> {
    if let ([scope], true) = (scopes, typed.is_none()) {
        let chosen = framework(None, scope, codes, in_use);
        let several_below = matches!(chosen, Err(Failure::Wrong(_)));
        if !several_below || in_use.is_empty() {
            return chosen;
        }
    }
    if in_use.is_empty() {
        return framework(None, &Scope::all(), codes, in_use);
    }
    let has_all = |framework: &&Framework| codes.iter().all(|code| framework.find(code).is_some());
    let meant = in_use
        .iter()
        .filter(|framework| typed.is_none_or(|typed| typed.matches(framework)));
    let telling: Vec<&Framework> = meant.clone().filter(has_all).collect();
    let candidates = match telling.is_empty() {
        true => meant.collect(),
        false => telling,
    };
    only(candidates, || {
        format!(
            "no such framework is in use: expected one of {}",
            names(in_use)
        )
    })
}

fn only<'f>(
    candidates: impl IntoIterator<Item = &'f Framework>,
    none: impl FnOnce() -> String,
) -> Result<&'f Framework, Failure> {
    let candidates: Vec<&Framework> = candidates.into_iter().collect();
    match candidates.as_slice() {
        [] => Err(Failure::Wrong(none())),
        [framework] => Ok(framework),
        several => Err(Failure::Wrong(format!(
            "several frameworks are possible: expected --framework with one of {}",
            names(several.iter().copied())
        ))),
    }
}

/// Whether evidence of `scope` can count in `framework`: it assesses the unit, a unit of the same
/// level (a ward beside villages), or a region that the unit is part of.
fn reaches(framework: &Framework, scope: &Scope) -> bool {
    let same_level =
        |unit: &UnitType| level_of(*unit).is_some() && level_of(*unit) == scope.level();
    scope
        .self_and_ancestors()
        .any(|step| framework.assesses(&step))
        || (scope.agency().is_none() && framework.applies_to().iter().any(same_level))
}

fn level_of(unit: UnitType) -> Option<RegionLevel> {
    match unit {
        UnitType::Province => Some(RegionLevel::Province),
        UnitType::Regency | UnitType::City => Some(RegionLevel::Regency),
        UnitType::District => Some(RegionLevel::District),
        UnitType::Ward | UnitType::Village | UnitType::CustomaryVillage => {
            Some(RegionLevel::Village)
        }
        UnitType::Agency => None,
    }
}

fn names<'f>(frameworks: impl IntoIterator<Item = &'f Framework>) -> String {
    let names: Vec<String> = frameworks
        .into_iter()
        .map(|framework| framework.reference().to_string())
        .collect();
    names.join(", ")
}

fn units(framework: &Framework) -> String {
    let names: Vec<&str> = framework
        .applies_to()
        .iter()
        .map(|unit| unit.as_str())
        .collect();
    names.join(" and ")
}

/// A code that evidence can support: a row, or an indicator as a whole.
pub(super) fn supportable(framework: &Framework, code: &str) -> Result<String, Failure> {
    match framework.find(code) {
        Some(Item::Row(_) | Item::Indicator(_)) => Ok(code.to_owned()),
        Some(Item::Component(component)) => {
            let codes = component
                .indicators
                .iter()
                .map(|indicator| indicator.code.as_str());
            Err(Failure::Wrong(format!(
                "{code} is a component of {}: expected one of its indicators {} or a row of them",
                framework.reference(),
                span(codes)
            )))
        }
        None => Err(unknown_code(framework, code)),
    }
}

/// The code of a row.
pub(super) fn row(framework: &Framework, code: &str) -> Result<String, Failure> {
    let code = supportable(framework, code)?;
    let whole = framework
        .indicator_of(&code)
        .filter(|indicator| indicator.code == code);
    match whole {
        None => Ok(code),
        Some(indicator) if indicator.rows.is_empty() => Err(Failure::Wrong(format!(
            "{code} is an indicator without rows: expected --indicator {code}"
        ))),
        Some(indicator) => {
            let rows = span(indicator.rows.iter().map(|row| row.code.as_str()));
            Err(Failure::Wrong(format!(
                "{code} is an indicator: expected one of its rows {rows}, or --indicator {code}"
            )))
        }
    }
}

/// The code of an indicator.
pub(super) fn indicator(framework: &Framework, code: &str) -> Result<String, Failure> {
    let code = supportable(framework, code)?;
    match framework.indicator_of(&code) {
        Some(indicator) if indicator.code != code => Err(Failure::Wrong(format!(
            "{code} is a row: expected an indicator such as {}, or --row {code}",
            indicator.code
        ))),
        Some(_) | None => Ok(code),
    }
}

fn unknown_code(framework: &Framework, code: &str) -> Failure {
    let given: String = code.chars().take(80).collect();
    let refused = format!("'{given}' is not in {}", framework.reference());
    let above = code
        .match_indices('.')
        .rev()
        .find_map(|(end, _dot)| framework.indicator_of(&code[..end]));
    if let Some(indicator) = above {
        let rows = span(indicator.rows.iter().map(|row| row.code.as_str()));
        return Failure::Wrong(match rows.is_empty() {
            false => format!(
                "{refused}: expected a row of indicator {}: {rows}",
                indicator.code
            ),
            true => format!(
                "{refused}: expected indicator {}, which has no rows",
                indicator.code
            ),
        });
    }
    let codes = framework.indicators().flat_map(|indicator| {
        std::iter::once(&indicator.code).chain(indicator.rows.iter().map(|row| &row.code))
    });
    let nearest = codes.max_by_key(|known| (alike(known, code), std::cmp::Reverse(known.len())));
    match nearest {
        Some(nearest) if alike(nearest, code) > 0 => {
            Failure::Wrong(format!("{refused}: expected perhaps {nearest}"))
        }
        Some(_) | None => {
            let indicators = span(
                framework
                    .indicators()
                    .map(|indicator| indicator.code.as_str()),
            );
            Failure::Wrong(format!(
                "{refused}: expected one of its indicators {indicators}"
            ))
        }
    }
}

/// How many characters two codes share at their beginning, whatever their case.
fn alike(a: &str, b: &str) -> usize {
    a.chars()
        .zip(b.chars())
        .take_while(|(a, b)| a.eq_ignore_ascii_case(b))
        .count()
}

/// Codes in order, written short.
fn span<'c>(codes: impl Iterator<Item = &'c str>) -> String {
    let codes: Vec<&str> = codes.collect();
    match codes.as_slice() {
        [] => String::new(),
        [first, _, .., last] if codes.len() > 3 => format!("{first} to {last}"),
        few => few.join(", "),
    }
}

/// The year of the cycle: `typed`, or the current one. A clock that is behind what the server was
/// last known to say, or far ahead of it, does not count beside it.
pub(super) fn cycle(typed: Option<i32>, server_time: WallMs, now: WallMs) -> Result<i32, Failure> {
    let plausible = server_time..server_time.saturating_add(CLOCK_AHEAD_MAX_MS);
    let time = if plausible.contains(&now) {
        now
    } else {
        server_time
    };
    let year_of = |time: WallMs| show_time(time).get(..4)?.parse().ok();
    let year: Option<i32> = typed.or_else(|| year_of(time));
    year.filter(|year| CYCLES.contains(year)).ok_or_else(|| {
        let given = year.map_or_else(|| show_time(time), |year| year.to_string());
        Failure::Wrong(format!(
            "'{given}' is not a cycle: expected --cycle with a year from {} to {}",
            CYCLES.start(),
            CYCLES.end()
        ))
    })
}

#[cfg(test)]
mod tests;
