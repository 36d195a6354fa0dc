//! `import regions` and `import framework`.

use std::path::Path;

use bukti_command::{Reply, show};
use bukti_core::framework::Framework;
use bukti_core::ledger::AdminError;
use bukti_core::limits;
use bukti_core::region::RegionImport;
use serde_json::json;

use super::{Failure, Office, file_name, read_file, say};
use crate::accepting::Ledger;
use crate::clock::wall_now;

pub(super) fn regions(
    office: &Office,
    file: &Path,
    version: Option<&str>,
    json: bool,
) -> Result<Reply, Failure> {
    let bytes = read_file(file, limits::REGIONS_BYTES_MAX)?;
    // Without a decree the day of the import tells lists apart.
    let day = show::show_time(wall_now());
    let version = version.unwrap_or_else(|| day.split(' ').next().unwrap_or(&day));
    let import = RegionImport::from_csv(&file_name(file), &bytes, version)
        .map_err(|error| Failure::wrong_use(error.to_string()))?;
    let (regions, sheets) = (import.regions(), import.sheets().len());
    let task = move |ledger: &mut Ledger, now| {
        // Where nothing else is recorded meanwhile: what counts as changed is the import's alone.
        let before = ledger.reader().watermark().position;
        let position = ledger.import_regions(now, import)?;
        Ok::<_, AdminError>(position.saturating_sub(before))
    };
    let changed = office.accepting().ask_blocking(None, task)??;
    let value = json!({
        "regions": regions, "sheets": sheets, "changed": changed, "version": version,
    });
    Ok(say(json, &value, || {
        format!(
            "{regions} regions of version {version}: {changed} of {sheets} sheets are new or changed\n"
        )
    }))
}

pub(super) fn framework(office: &Office, file: &Path, json: bool) -> Result<Reply, Failure> {
    let bytes = read_file(file, limits::FRAMEWORK_BYTES_MAX)?;
    let name = file_name(file);
    let framework = Framework::from_json(&name, &bytes)
        .map_err(|error| Failure::wrong_use(error.to_string()))?;
    office.accepting().ask_blocking(None, move |ledger, now| {
        ledger.import_framework(now, &name, bytes)
    })??;
    let (indicators, rows) = (framework.indicators().count(), framework.rows().count());
    let value = json!({
        "framework": framework.reference().to_string(),
        "indicators": indicators,
        "rows": rows,
    });
    Ok(say(json, &value, || {
        format!(
            "{}: {indicators} indicators, {rows} rows\n",
            framework.reference()
        )
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::{Arc, mpsc};
    use std::thread;

    use bukti_command::{Exit, Progress, Request};
    use tokio_util::sync::CancellationToken;

    use super::super::answer;
    use super::*;
    use crate::accepting::Accepting;
    use crate::config::Config;
    use crate::folder::Folder;
    use crate::links::Links;
    use crate::metrics::Metrics;

    #[test]
    fn what_others_had_recorded_while_regions_were_read_counts_as_no_changed_sheet() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        let metrics = Arc::new(Metrics::default());
        let now = Some(wall_now());
        let config = Config {
            reserve_mib: 0,
            ..Config::default()
        };
        let started = folder
            .open(None, now, &config, &metrics, &mut |_| {})
            .unwrap();
        let links = Links::of_stopped(&folder, None).unwrap();
        let failed = CancellationToken::new();
        let (accepting, thread) =
            Accepting::start(started.ledger, 4, Arc::default(), metrics, failed);
        let office = Office::new(folder, accepting.clone(), &started.key, links);
        let file = place.path().join("regions.csv");
        fs::write(
            &file,
            "code,name\n13,Sumatera Barat\n13.76,Kota Payakumbuh\n",
        )
        .unwrap();

        let (begun, begins) = mpsc::channel::<()>();
        let (go_on, held_up) = mpsc::channel::<()>();
        let other = accepting.clone();
        let other = thread::spawn(move || {
            let others = move |ledger: &mut Ledger, now| {
                begun.send(()).unwrap();
                held_up.recv().unwrap();
                ledger.checkpoint(now).unwrap();
            };
            other.ask_blocking(None, others).unwrap();
        });
        begins.recv().unwrap();
        let importing = thread::spawn(move || {
            let line = format!("import regions {} --json", file.display());
            let request = Request::here(line.split(' ').map(str::to_owned).collect()).unwrap();
            answer(&office, &request, &mut Progress::to(|_| {}))
        });
        while accepting.asked() < 1 {
            thread::yield_now();
        }
        go_on.send(()).unwrap();
        let told = importing.join().unwrap();
        assert_eq!(told.exit, Exit::Done, "{told:?}");
        let told: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
        assert_eq!(told["changed"], told["sheets"], "{told}");
        other.join().unwrap();
        accepting.close();
        thread.join().unwrap();
    }
}
