//! `grant`, `confirm` and `move`: who reaches what, changed after enrolment.

use bukti_command::{Column, Reply, Table, show};
use bukti_core::authority::Grant;
use bukti_core::id::{DeviceId, Position};
use bukti_core::ledger::AdminError;
use bukti_core::scope::Scope;
use serde_json::json;

use super::{Failure, Office, find_device, say};
use crate::accepting::Ledger;
use crate::arguments::{Granting, Moving};

/// Nobody is to reach a region by a code that was mistyped.
pub(super) fn expect_known(office: &Office, scopes: &[Scope]) -> Result<(), Failure> {
    for scope in scopes {
        if !office.reader().knows(scope)? {
            let sentence = format!("{scope} is not in the list of regions");
            return Err(Failure::wrong_use(sentence));
        }
    }
    Ok(())
}

pub(super) fn grant(
    office: &Office,
    options: &Granting,
    json: bool,
    columns: Option<u16>,
) -> Result<Reply, Failure> {
    let device = find_device(office.reader(), &options.device)?;
    if !options.remove {
        expect_known(office, &options.regions)?;
    }
    let (role, scopes, remove) = (options.role, options.regions.clone(), options.remove);
    let task = move |ledger: &mut Ledger, now| {
        // Read where nothing else is decided meanwhile, so that two commands at once both count.
        let row = ledger.read(|reader| reader.device(&device))?;
        let row = row.filter(|row| row.revoked_at.is_none());
        let standing = row.ok_or_else(|| {
            AdminError::Invalid(format!("device {device} is not enrolled or was revoked"))
        });
        let before = standing?.grants;
        let named: Vec<Grant> = scopes
            .into_iter()
            .map(|scope| Grant { role, scope })
            .collect();
        if remove && let Some(lacking) = named.iter().find(|grant| !before.contains(grant)) {
            return Err(AdminError::Invalid(lacks(&device, lacking, &before)));
        }
        let after = changed(&before, named.into_iter(), remove);
        let position = match after == before {
            true => None,
            false => Some(ledger.grant(now, device, after.clone())?),
        };
        Ok::<_, AdminError>((after, position))
    };
    let (grants, position) = office.accepting().ask_blocking(None, task)??;
    let value = json!({
        "device": device.to_string(),
        "grants": grants,
        "changed": position.is_some(),
        "position": position,
    });
    Ok(say(json, &value, || {
        let text = match position {
            Some(_) => format!("{device} may from here on\n"),
            None => format!("nothing changed: {device} may\n"),
        };
        text + &drawn(&grants, columns)
    }))
}

/// What is said to somebody who takes away what was not granted.
fn lacks(device: &DeviceId, lacking: &Grant, held: &[Grant]) -> String {
    let held: Vec<String> = held.iter().map(Grant::to_string).collect();
    let held = match held.is_empty() {
        true => "it has no grant".to_owned(),
        false => format!("it has {}", held.join(", ")),
    };
    format!("device {device} has no grant '{lacking}', so none was removed: {held}")
}

/// Grants one below another.
fn drawn(grants: &[Grant], columns: Option<u16>) -> String {
    if grants.is_empty() {
        return "nothing\n".to_owned();
    }
    let mut table = Table::new([Column::text("role"), Column::text("region")]);
    for grant in grants {
        table.row([grant.role.to_string(), grant.scope.to_string()]);
    }
    table.draw(columns)
}

/// Lets a device receive that came back after a loss, and shows what it may do: a grant that was
/// removed in what was lost may be among that.
pub(super) fn confirm(
    office: &Office,
    given: &str,
    json: bool,
    columns: Option<u16>,
) -> Result<Reply, Failure> {
    let device = find_device(office.reader(), given)?;
    let task = move |ledger: &mut Ledger, now| {
        let position = ledger.confirm(now, device)?;
        let row = ledger.read(|reader| reader.device(&device))?;
        Ok::<_, AdminError>((position, row))
    };
    let (position, row) = office.accepting().ask_blocking(None, task)??;
    let (person, grants) = row.map(|row| (row.person, row.grants)).unwrap_or_default();
    let value = json!({
        "device": device.to_string(),
        "person": person,
        "grants": grants,
        "position": position,
    });
    Ok(say(json, &value, || {
        format!(
            "confirmed {device}\n\
             {} may from here on\n\
             {}\
             Was one of these removed before the loss? 'bukti-server grant --remove' takes it away.\n",
            show::plain(&person),
            drawn(&grants, columns)
        )
    }))
}

/// The grants with those that are named, or without them.
fn changed(before: &[Grant], named: impl Iterator<Item = Grant>, remove: bool) -> Vec<Grant> {
    let named: Vec<Grant> = named.collect();
    let mut after = before.to_vec();
    if remove {
        after.retain(|grant| !named.contains(grant));
        return after;
    }
    for grant in named {
        if !after.contains(&grant) {
            after.push(grant);
        }
    }
    after
}

/// Moves a unit, or lists what was moved.
pub(super) fn moving(
    office: &Office,
    options: &Moving,
    json: bool,
    columns: Option<u16>,
) -> Result<Reply, Failure> {
    match (&options.unit, &options.to) {
        (Some(unit), Some(to)) => move_unit(office, unit, to, json),
        _ => Ok(moved(office, json, columns)),
    }
}

fn move_unit(office: &Office, unit: &Scope, to: &Scope, json: bool) -> Result<Reply, Failure> {
    let (moving, parent) = (unit.clone(), to.clone());
    let task = move |ledger: &mut Ledger, now| ledger.move_unit(now, &moving, &parent);
    let position = office.accepting().ask_blocking(None, task)??;
    let lineage = office.reader().placements().lineage(unit);
    let above: Vec<&Scope> = lineage.iter().skip(1).collect();
    let has_evidence = office.reader().holds_evidence_of(unit)?;
    let value = json!({
        "unit": unit,
        "above": above,
        "evidence": has_evidence,
        "changed": position.is_some(),
        "position": position,
    });
    Ok(say(json, &value, || {
        let names: Vec<&str> = above.iter().map(|scope| scope.as_str()).collect();
        let above = names.join(", ");
        let mut text = match position {
            Some(_) => format!("{unit} stands under {above} from here on\n"),
            None => format!("nothing changed: {unit} stands under {above}\n"),
        };
        // Agencies are in no list that a mistyped one could be held against.
        if unit.agency().is_some() && !has_evidence {
            text.push_str(&format!(
                "No evidence of {unit} is here yet. Mistyped? 'bukti-server move' lists what was \
                 moved; another move puts it right.\n"
            ));
        }
        text
    }))
}

/// Units that decrees moved.
fn moved(office: &Office, json: bool, columns: Option<u16>) -> Reply {
    let placements = office.reader().placements();
    let listed = placements.moved().map(|(unit, placement)| {
        let above: Vec<Scope> = placements.lineage(unit).iter().skip(1).cloned().collect();
        (unit, placement.position, above)
    });
    let listed: Vec<(&Scope, Position, Vec<Scope>)> = listed.collect();
    let units = listed.iter().map(
        |(unit, position, above)| json!({ "unit": unit, "position": position, "above": above }),
    );
    let value = json!({ "moved": units.collect::<Vec<_>>() });
    say(json, &value, || {
        if listed.is_empty() {
            return "No unit was moved.\n".to_owned();
        }
        let mut table = Table::new([
            Column::text("unit"),
            Column::text("stands under"),
            Column::number("since record"),
        ]);
        for (unit, position, above) in &listed {
            let above: Vec<&str> = above.iter().map(Scope::as_str).collect();
            table.row([unit.to_string(), above.join(", "), position.to_string()]);
        }
        table.draw(columns)
    })
}

#[cfg(test)]
mod tests {
    use bukti_command::{Exit, FolderLock};
    use bukti_core::authority::Role;
    use bukti_core::kv::{Batch, Kv, SledKv};
    use bukti_core::ledger::testing::{Phone, enrol};

    use super::super::flips::run;
    use super::*;
    use crate::clock::wall_now;
    use crate::config::Config;
    use crate::folder::Folder;
    use crate::metrics::Metrics;

    fn grant(role: Role, scope: &str) -> Grant {
        Grant {
            role,
            scope: scope.parse().unwrap(),
        }
    }

    #[test]
    fn grants_are_added_once_and_removed_exactly() {
        let held = [grant(Role::Officer, "13.76"), grant(Role::Verifier, "13")];
        let same = [held[0].clone()];
        assert_eq!(changed(&held, same.iter().cloned(), false), held);
        assert_eq!(changed(&held, same.iter().cloned(), true), held[1..]);
        // A narrower scope than the one that was granted is not that grant.
        let narrower = [grant(Role::Officer, "13.76.01")];
        assert_eq!(changed(&held, narrower.iter().cloned(), true), held);
        assert_eq!(changed(&held, narrower.iter().cloned(), false).len(), 3);
    }

    #[test]
    fn a_device_whose_row_is_damaged_is_no_wrong_use_and_the_next_command_finds_it_made_anew() {
        let place = tempfile::tempdir().unwrap();
        let (folder, phone) = (Folder::new(place.path()), Phone::new(1));
        let (now, config, metrics) = (wall_now(), Config::default(), Metrics::default());
        drop(FolderLock::acquire(place.path()).unwrap());
        let started = folder.open(None, Some(now), &config, &metrics, &mut |_| {});
        let mut ledger = started.unwrap().ledger;
        enrol(&mut ledger, &phone, Role::Officer, "13.07");
        drop(ledger);
        let kv = SledKv::open(&place.path().join("store"), 0).unwrap();
        let row = [b"v", &phone.id().0[..]].concat();
        kv.apply(Batch::new().put(row, "no row")).unwrap();
        drop(kv);
        let line = format!(
            "grant {} --role officer --region 13.07 --remove",
            phone.id()
        );
        let failed = run(place.path(), &line);
        assert_eq!(failed.exit, Exit::Failed, "{failed:?}");
        assert_eq!(run(place.path(), &line).exit, Exit::Done);
    }
}
