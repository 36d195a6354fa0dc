//! `bukti evidence`: entering and changing evidence.

use std::collections::{BTreeMap, BTreeSet};

use bukti_client::clock;
use bukti_command::Reply;
use bukti_core::evidence::{Declared, Edit, EvidenceView, NewEvidence};
use bukti_core::framework::Framework;
use bukti_core::id::{DocumentId, RunId};
use bukti_core::kind::{Kind, Kinds};
use serde_json::json;

use super::desk::Desk;
use super::failure::Failure;
use super::{choose, line, setting};

mod shown;

pub(super) fn run(desk: &mut Desk<'_>, command: &line::Evidence) -> Result<Reply, Failure> {
    match command {
        line::Evidence::New(new) => create(desk, new),
        line::Evidence::Edit(edit) => change(desk, edit),
        line::Evidence::Ready { id } => declare(desk, id, Edit::Declare(Declared::Ready)),
        line::Evidence::Draft { id } => declare(desk, id, Edit::Declare(Declared::Draft)),
        line::Evidence::Withdraw { id, reason } => {
            let reason = setting::line("reason", reason)?;
            declare(desk, id, Edit::Withdraw { reason })
        }
        line::Evidence::List => shown::list(desk),
        line::Evidence::Show { id } => shown::show(desk, id),
        line::Evidence::History { id } => shown::history(desk, id),
    }
}

fn create(desk: &mut Desk<'_>, typed: &line::New) -> Result<Reply, Failure> {
    let kinds = Kinds::built_in();
    let kind = setting::kind(&kinds, &typed.kind)?;
    let title = setting::line("title", &typed.title)?;
    let values = setting::values(kind, &typed.settings)?;
    let narrative = match &typed.narrative_file {
        Some(file) => setting::narrative(&desk.path(file))?,
        None => String::new(),
    };
    let regions = desk.device.regions()?;
    let scope = choose::scope(
        typed.region.as_deref(),
        desk.device.grants(),
        desk.device.placements(),
        &regions,
    )?;
    let codes = [typed.indicators.as_slice(), &typed.rows].concat();
    let in_use = desk.device.frameworks()?;
    let framework = choose::framework(typed.framework.as_ref(), &scope, &codes, &in_use)?;
    let rows = rows(framework, typed)?;
    let cycle = choose::cycle(typed.cycle, desk.server_time()?, desk.now)?;
    let filled = values.iter().filter(|(_code, value)| value.is_some());
    let missing = missing_required(kind, filled.map(|(code, _value)| code.as_str()));
    let fields: BTreeMap<_, _> = values
        .into_iter()
        .filter_map(|(code, value)| Some((code, setting::stored(value?))))
        .collect();
    let new = NewEvidence {
        kind: kind.code.clone(),
        framework_id: framework.id().to_owned(),
        framework_version: framework.version().to_owned(),
        cycle,
        rows,
        title,
        fields,
        narrative,
        ..NewEvidence::default()
    };
    let (id, run) = desk.device.create(desk.now, clock::draw(), &scope, &new)?;
    let value = json!({
        "id": id.to_string(),
        "run": run.to_string(),
        "kind": new.kind,
        "scope": scope,
        "framework": framework.reference(),
        "cycle": cycle,
        "missing_required": missing,
    });
    Ok(desk.answer(&value, || {
        format!(
            "{id}\nDraft for {}, {}, cycle {cycle}. {}\n{}",
            regions.path_name(&scope, desk.device.placements()),
            framework.reference(),
            desk.kept(),
            still_missing(&missing)
        )
    }))
}

fn rows(framework: &Framework, typed: &line::New) -> Result<BTreeSet<String>, Failure> {
    let indicators = typed
        .indicators
        .iter()
        .map(|code| choose::indicator(framework, code));
    let rows = typed.rows.iter().map(|code| choose::row(framework, code));
    indicators.chain(rows).collect()
}

fn change(desk: &mut Desk<'_>, typed: &line::Edit) -> Result<Reply, Failure> {
    let id = desk.document(&typed.id)?;
    let view = desk.device.show(&id)?.evidence;
    let mut edits = Vec::new();
    if let Some(title) = &typed.title {
        edits.push(Edit::Title(setting::line("title", title)?));
    }
    if !typed.settings.is_empty() {
        let kinds = Kinds::built_in();
        let kind = setting::kind(&kinds, &view.kind)?;
        for (code, value) in setting::values(kind, &typed.settings)? {
            edits.push(match value.map(setting::stored) {
                Some(value) => Edit::Field { code, value },
                None => Edit::ClearField(code),
            });
        }
    }
    if let Some(file) = &typed.narrative_file {
        edits.push(Edit::Narrative(setting::narrative(&desk.path(file))?));
    }
    if !typed.add_rows.is_empty() {
        let in_use = desk.device.frameworks()?;
        let framework = framework_of(&view, &in_use)?;
        for code in &typed.add_rows {
            edits.push(Edit::AddRow(choose::supportable(framework, code)?));
        }
    }
    for code in &typed.remove_rows {
        edits.push(Edit::RemoveRow(supported(&view, typed, code)?));
    }
    if edits.is_empty() {
        return Err(Failure::Wrong(
            "nothing to change: expected --title, --set, --narrative-file, --add-row or --remove-row"
                .into(),
        ));
    }
    let run = desk.device.edit(desk.now, &id, &edits)?;
    Ok(changed(desk, id, run, ""))
}

fn framework_of<'f>(
    view: &EvidenceView,
    in_use: &'f [Framework],
) -> Result<&'f Framework, Failure> {
    let Some(meant) = &view.framework else {
        return Err(Failure::Wrong(
            "this evidence names no framework, so it has no rows".into(),
        ));
    };
    in_use
        .iter()
        .find(|framework| framework.id() == meant.id && framework.version() == meant.version)
        .ok_or_else(|| {
            Failure::Failed(format!(
                "{}@{} is not on this device: run 'bukti sync' where there is a link",
                meant.id, meant.version
            ))
        })
}

fn supported(view: &EvidenceView, typed: &line::Edit, code: &str) -> Result<String, Failure> {
    if typed.add_rows.iter().any(|added| added == code) {
        return Err(Failure::Wrong(format!(
            "{code} is added and removed, expected one of both"
        )));
    }
    if view.rows.contains(code) {
        return Ok(code.to_owned());
    }
    let rows: Vec<&str> = view.rows.iter().map(String::as_str).collect();
    Err(Failure::Wrong(match rows.as_slice() {
        [] => format!("this evidence does not support '{code}': it supports no row"),
        rows => format!(
            "this evidence does not support '{code}': expected one of {}",
            rows.join(", ")
        ),
    }))
}

fn declare(desk: &mut Desk<'_>, typed: &str, edit: Edit) -> Result<Reply, Failure> {
    let id = desk.document(typed)?;
    let is_ready = edit == Edit::Declare(Declared::Ready);
    let run = desk.device.edit(desk.now, &id, &[edit])?;
    let view = desk.device.show(&id)?.evidence;
    let kinds = Kinds::built_in();
    let missing = match kinds.kind(&view.kind) {
        Some(kind) if is_ready => missing_required(kind, view.fields.keys().map(String::as_str)),
        Some(_) | None => Vec::new(),
    };
    Ok(changed(desk, id, run, &still_missing(&missing)))
}

/// What every change answers; the run is on the disk.
pub(super) fn changed(desk: &Desk<'_>, id: DocumentId, run: Option<RunId>, remark: &str) -> Reply {
    let value = json!({
        "id": id.to_string(),
        "changed": run.is_some(),
        "run": run.map(|run| run.to_string()),
    });
    desk.answer(&value, || {
        let said = match run {
            Some(_) => desk.kept(),
            None => "Nothing to change: it says so already.",
        };
        format!("{said}\n{remark}")
    })
}

fn missing_required<'k, 'p>(
    kind: &'k Kind,
    present: impl Iterator<Item = &'p str>,
) -> Vec<&'k str> {
    let present: Vec<&str> = present.collect();
    let missing = kind.missing_required(&present).into_iter();
    missing.map(|field| field.code.as_str()).collect()
}

fn still_missing(missing: &[&str]) -> String {
    match missing {
        [] => String::new(),
        codes => format!("Required and still empty: {}.\n", codes.join(", ")),
    }
}
