//! The verifier, an edit that is refused, what it cost, and whether all is there.

use std::path::Path;

use bukti_client::clock;
use bukti_client::device::{Device, Folders};
use bukti_command::show::show_bytes;
use bukti_command::{Column, Table};
use bukti_core::evidence::{Edit, Value as FieldValue};
use bukti_core::id::DocumentId;
use bukti_core::kv::sled::SledKv;
use serde_json::Value;

use super::{ALL, SARI, Story, WATI, list, shown, text};
use crate::demo::Stopped;
use crate::demo::stage::TOWN;
use crate::process::binary;

/// Bytes of cache for the dishonest app.
const STORE_CACHE_BYTES: u64 = 8 * 1024 * 1024;

impl Story<'_> {
    pub(super) fn what_the_verifier_sees(&mut self) -> Result<(), Stopped> {
        self.page.heading("What the verifier sees");
        let listed = self.stage.bukti(WATI, &["evidence", "list"])?;
        let pieces = list(&listed, "evidence");
        let mut table = Table::new(["Evidence", "Rows", "State"].map(Column::text));
        for piece in pieces {
            let rows: Vec<String> = list(piece, "rows").iter().map(shown).collect();
            table.row([
                text(piece, "title"),
                &rows.join(", "),
                text(piece, "shown_as"),
            ]);
        }
        self.page.table(&table);
        let held = self.stage.bukti(SARI, &["evidence", "list"])?;
        let ready = list(&held, "evidence")
            .iter()
            .filter(|piece| is_ready(piece))
            .count();
        let drafts = list(&held, "evidence").len() - ready;
        self.page.gap();
        self.page.text(&format!(
            "{ready} pieces that were declared ready; the {drafts} drafts are for the village only."
        ));
        self.claims.check(
            "the verifier sees what is ready and no draft",
            pieces.len() == ready && drafts > 0 && pieces.iter().all(is_ready),
            || format!("{} pieces, of which {ready} are ready", pieces.len()),
        );
        Ok(())
    }

    pub(super) fn an_edit_that_is_not_allowed(&mut self) -> Result<(), Stopped> {
        self.page.heading("An edit that is not allowed");
        self.stage.go_where(TOWN);
        self.refused_by_the_device()?;
        self.refused_by_the_server()
    }

    fn refused_by_the_device(&mut self) -> Result<(), Stopped> {
        let edit = ["evidence", "edit", &self.shared, "--set", "number=99/2025"];
        let printed = self.stage.bukti_printed(WATI, &edit)?;
        let said = printed.stderr.trim().to_owned();
        self.page.fact(
            "Command",
            "Wati: bukti evidence edit … --set number=99/2025",
        );
        self.page.fact(
            "Device",
            &format!("{said} (exit {})", printed.status.unwrap_or(-1)),
        );
        self.claims.check(
            "the verifier's own device refuses to edit, in one line, with exit status 2",
            printed.status == Some(2) && said.lines().count() == 1 && printed.stdout.is_empty(),
            || format!("{printed:?}"),
        );
        Ok(())
    }

    /// An app that leaves out the checks signs the edit and sends it.
    fn refused_by_the_server(&mut self) -> Result<(), Stopped> {
        let show = ["evidence", "show", &self.shared, "--json"];
        let before = self.stage.bukti_printed(SARI, &show)?.stdout;
        let run = sign_unchecked(self.stage.person(WATI).phone.data(), &self.shared)?;
        self.page.fact(
            "Dishonest",
            "an app without that check signs the edit and sends it",
        );
        self.stage.bukti(WATI, &["sync"])?;
        let listed = self.stage.bukti(WATI, &["quarantine", "list"])?;
        let quarantine = list(&listed, "quarantine");
        let refused = quarantine.first().unwrap_or(&Value::Null);
        self.page.fact(
            "Server",
            &format!("{}: {}", text(refused, "code"), text(refused, "sentence")),
        );
        let edits: Vec<String> = list(refused, "edits").iter().map(shown).collect();
        let data = self.stage.person(WATI).phone.data();
        let kept = data.join("quarantine").join(format!("{run}.cbor"));
        let name = kept.strip_prefix(self.stage.folder()).unwrap_or(&kept);
        let place = format!("kept on her device in {}", name.display());
        self.page.fact("Quarantine", &edits.join("; "));
        self.page.fact("", &place);
        self.claims.check(
            "the server refuses the verifier's edit with a code and a sentence, and it lies in quarantine",
            quarantine.len() == 1
                && text(refused, "run") == run
                && text(refused, "code") == "forbidden"
                && !text(refused, "sentence").is_empty()
                && edits.iter().any(|edit| edit.contains("99/2025"))
                && kept.is_file(),
            || listed.to_string(),
        );
        self.stage.bukti(SARI, &["sync"])?;
        let after: Vec<String> = [SARI, WATI]
            .iter()
            .map(|&person| Ok(self.stage.bukti_printed(person, &show)?.stdout))
            .collect::<Result<_, Stopped>>()?;
        self.claims.check(
            "nobody's evidence was changed by it",
            after.iter().all(|one| *one == before),
            || after.concat(),
        );
        Ok(())
    }

    pub(super) fn what_it_cost(&mut self) {
        self.page.heading("What the bad link cost");
        let mut table = Table::new([
            Column::text("Device"),
            Column::number("Sent"),
            Column::number("Received"),
            Column::number("Up"),
            Column::number("Down"),
            Column::number("Frames"),
            Column::number("Cuts"),
            Column::number("Reconnects"),
        ]);
        for person in ALL {
            let cost = self.costs.get(&person).copied().unwrap_or_default();
            table.row([
                self.name(person).to_owned(),
                cost.runs_sent.to_string(),
                cost.runs_received.to_string(),
                show_bytes(cost.bytes_up),
                show_bytes(cost.bytes_down),
                cost.frames.to_string(),
                cost.cuts.to_string(),
                cost.reconnects.to_string(),
            ]);
        }
        self.page.table(&table);
    }

    pub(super) fn is_it_all_there(&mut self) -> Result<(), Stopped> {
        self.page.heading("Is it all there?");
        self.page.progress("verifying the journal …");
        let verified = self.stage.server_json(&["verify"])?;
        let verdict = if verified["ok"] == true {
            "ok"
        } else {
            "NOT ok"
        };
        self.page.text(&format!(
            "verify: {verdict} ({})",
            text(&verified, "verified")
        ));
        self.claims.check(
            "bukti-server verify finds the journal whole",
            verified["ok"] == true,
            || verified.to_string(),
        );
        Ok(())
    }

    /// How to go on, with the real names.
    pub(super) fn by_hand(&mut self) {
        let program = |name: &str| near(&binary(name)).display().to_string();
        let (bukti, server) = (program("bukti"), program("bukti-server"));
        let folder = self.stage.folder().display().to_string();
        let short: String = self.shared.chars().take(8).collect();
        self.page.heading("Go on by hand");
        self.page.text(&format!(
            "The server goes on at http://{} (/health/ready says how it is); all links are good from here on. \
             In another terminal:",
            self.stage.server().address()
        ));
        self.page.gap();
        self.page.command(&format!("D={folder}"));
        for line in [
            format!("{bukti} evidence show {short} --data $D/sari"),
            format!("{bukti} evidence history {short} --data $D/budi"),
            format!("{bukti} conflicts --data $D/sari"),
            format!("{bukti} resolve {short} number --keep 1 --data $D/sari"),
            format!("{bukti} sync --data $D/sari"),
            format!("{bukti} indicators I.1 --data $D/wati"),
            format!("{bukti} quarantine show 1 --data $D/wati"),
            format!("{server} devices --data $D/server"),
            format!("{server} status --data $D/server"),
            format!("{server} verify --data $D/server"),
        ] {
            self.page.command(&line);
        }
    }
}

fn is_ready(piece: &Value) -> bool {
    text(piece, "declared") == "ready"
}

/// Edits evidence on a device as an app would that leaves out what the person may do.
fn sign_unchecked(data: &Path, document: &str) -> Result<String, Stopped> {
    let stopped = |what: &dyn std::fmt::Display| Stopped(format!("the dishonest app: {what}"));
    let folders = Folders::on_disk(data).map_err(|error| stopped(&error))?;
    let store =
        SledKv::open(&data.join("store"), STORE_CACHE_BYTES).map_err(|error| stopped(&error))?;
    let mut device = Device::open(folders, store).map_err(|error| stopped(&error))?;
    device.set_local_checks(false);
    let document: DocumentId = document.parse().map_err(|error| stopped(&error))?;
    let edit = Edit::Field {
        code: "number".into(),
        value: FieldValue::String("99/2025".into()),
    };
    let run = device
        .edit(clock::wall(), &document, &[edit])
        .map_err(|error| stopped(&error))?;
    run.map(|run| run.to_string())
        .ok_or_else(|| stopped(&"nothing was changed"))
}

/// A path as one would type it from here.
fn near(path: &Path) -> &Path {
    std::env::current_dir()
        .ok()
        .and_then(|here| path.strip_prefix(here).ok())
        .unwrap_or(path)
}
