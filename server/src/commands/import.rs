//! `import regions` and `import framework`.

use std::path::Path;

use bukti_command::{Reply, show};
use bukti_core::framework::Framework;
use bukti_core::limits;
use bukti_core::region::RegionImport;
use serde_json::json;

use super::{Failure, Office, file_name, read_file, say};
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
    let before = office.reader().watermark().position;
    let position = office
        .accepting()
        .ask_blocking(None, move |ledger, now| ledger.import_regions(now, import))??;
    let changed = position.saturating_sub(before);
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
