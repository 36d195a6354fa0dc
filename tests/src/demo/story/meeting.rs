//! What the two officers wrote at once, as everybody has it.

use bukti_command::show::show_time;
use bukti_command::{Column, Table};
use serde_json::Value;

use super::{ALL, BUDI, OFFICERS, SARI, Story, list, shown, text};
use crate::demo::Stopped;
use crate::demo::words;

impl Story<'_> {
    pub(super) fn what_everybody_holds(&mut self) -> Result<(), Stopped> {
        self.page.heading("What everybody holds");
        self.check_equal()?;
        self.tell_history()?;
        self.tell_narrative()?;
        self.tell_conflicts()
    }

    /// Byte for byte, as printed by each device.
    fn check_equal(&mut self) -> Result<(), Stopped> {
        let show = ["evidence", "show", &self.shared, "--json"];
        let printed = self.at_once(&ALL, |stage, person| stage.bukti_printed(person, &show))?;
        let equal = printed.iter().all(|one| {
            one.status == Some(0) && !one.stdout.is_empty() && one.stdout == printed[0].stdout
        });
        self.claims.check(
            "both officers and the verifier show the same evidence, byte for byte",
            equal,
            || {
                printed
                    .iter()
                    .map(|one| format!("\n{}{}", one.stdout, one.stderr))
                    .collect()
            },
        );
        let pieces = self.at_once(&OFFICERS, |stage, person| {
            let listed = stage.bukti(person, &["evidence", "list"])?;
            Ok(list(&listed, "evidence")
                .iter()
                .map(|one| text(one, "id").to_owned())
                .collect())
        })?;
        let [ref of_sari, ref of_budi]: [Vec<String>; 2] = pieces[..]
            .to_vec()
            .try_into()
            .map_err(|_| Stopped("two lists were asked for".into()))?;
        self.claims.check(
            format!("both officers hold the same {} pieces", of_sari.len()),
            of_sari == of_budi && of_sari.len() > 1,
            || format!("Sari {of_sari:?}, Budi {of_budi:?}"),
        );
        Ok(())
    }

    fn tell_history(&mut self) -> Result<(), Stopped> {
        let history = self
            .stage
            .bukti(SARI, &["evidence", "history", &self.shared])?;
        let mut table = Table::new(
            ["Field", "Value", "Who", "Device said", "Server received"].map(Column::text),
        );
        let changes = list(&history, "changes");
        for change in changes {
            let mut said = change["device_time"]
                .as_i64()
                .map(show_time)
                .unwrap_or_default();
            if change["clock_doubtful"] == true {
                said.push_str(" clock?");
            }
            let received = change["received_at"]
                .as_i64()
                .map_or("not yet".into(), show_time);
            // Said once, beside the first of the edits that were made together.
            let mut told = [text(change, "person").to_owned(), said, received];
            for (field, value) in list(change, "edits").iter().filter_map(described) {
                let [who, said, received] = std::mem::take(&mut told);
                table.row([field, value, who, said, received]);
            }
        }
        self.page.text("Who wrote what, and when:");
        self.page.gap();
        self.page.table(&table);
        let all_received = changes.iter().all(|change| change["received_at"].is_i64());
        let who = |person: usize| {
            changes
                .iter()
                .filter(|change| text(change, "person") == self.name(person))
                .count()
        };
        let (of_sari, of_budi) = (who(SARI), who(BUDI));
        self.claims.check(
            "every change says who made it, when the device said and when the server received it",
            all_received && of_sari >= 2 && of_budi >= 2 && of_sari + of_budi == changes.len(),
            || history.to_string(),
        );
        let doubtful = |change: &&Value| change["clock_doubtful"] == true;
        let of_1970 = changes.iter().filter(doubtful).count();
        self.claims.check(
            "the changes of the device whose clock says 1970 are there and marked",
            of_1970 == of_budi,
            || format!("{of_1970} of {of_budi} are marked"),
        );
        Ok(())
    }

    fn tell_narrative(&mut self) -> Result<(), Stopped> {
        let held = self
            .stage
            .bukti(SARI, &["evidence", "show", &self.shared])?;
        let narrative = text(&held, "narrative").trim().to_owned();
        self.page.gap();
        self.page.text("The narrative, merged by itself:");
        self.page.gap();
        self.page.text(&format!("\"{narrative}\""));
        let both = [
            words::NARRATIVE.trim(),
            words::SENTENCE_OF_SARI,
            words::SENTENCE_OF_BUDI,
        ];
        self.claims.check(
            "the merged narrative holds the sentences of both officers",
            both.iter()
                .all(|sentence| narrative.matches(sentence).count() == 1),
            || narrative.clone(),
        );
        let rows = list(&held, "rows");
        self.claims.check(
            "the rows that both added are there",
            ["I.1.3", "I.1.8", "I.1.9"]
                .iter()
                .all(|row| rows.contains(&Value::from(*row))),
            || format!("{rows:?}"),
        );
        Ok(())
    }

    fn tell_conflicts(&mut self) -> Result<(), Stopped> {
        let of_all = self.at_once(&OFFICERS, |stage, person| {
            stage.bukti(person, &["conflicts", &self.shared])
        })?;
        let conflicts = list(&of_all[0], "conflicts");
        self.page.gap();
        self.page
            .text("Two values for one field; both stay until somebody chooses:");
        self.page.gap();
        let mut table =
            Table::new(["Field", "No.", "Value", "Who", "Shown until then"].map(Column::text));
        for conflict in conflicts {
            for (value, number) in list(conflict, "values").iter().zip(1..) {
                table.row([
                    field_name(text(conflict, "path")).to_owned(),
                    format!("{number}"),
                    shown(&value["value"]),
                    text(value, "person").to_owned(),
                    if value["shown"] == true { "yes" } else { "" }.to_owned(),
                ]);
            }
        }
        self.page.table(&table);
        let values = |conflicts: &Value| -> Vec<String> {
            let [conflict] = list(conflicts, "conflicts") else {
                return Vec::new();
            };
            let mut values: Vec<String> = list(conflict, "values")
                .iter()
                .map(|value| shown(&value["value"]))
                .collect();
            values.sort();
            values
        };
        let expected = ["04 of 2025", "4/2025"];
        self.claims.check(
            "both officers are asked to choose between the same two values, and nothing else",
            of_all.iter().all(|one| values(one) == expected),
            || of_all.iter().map(Value::to_string).collect(),
        );
        Ok(())
    }
}

/// Field and value of one edit; nothing for what was fixed when the evidence was begun.
fn described(edit: &Value) -> Option<(String, String)> {
    let field = field_name(text(edit, "path"));
    let (field, value) = match text(edit, "edit") {
        "set" => (field, shown(&edit["to"])),
        "cleared" => (field, "cleared".to_owned()),
        "written" => (
            field,
            match edit["removed"].as_u64() {
                Some(0) => format!("+{} characters", edit["added"]),
                _ => format!("+{} −{} characters", edit["added"], edit["removed"]),
            },
        ),
        "row_added" => ("rows", format!("+{}", text(edit, "row"))),
        "row_removed" => ("rows", format!("−{}", text(edit, "row"))),
        _ => return None,
    };
    let fixed = ["kind", "framework", "cycle", "personal_data"];
    (!fixed.contains(&field)).then(|| (field.to_owned(), value))
}

/// Fields of a kind are known by their code alone.
fn field_name(path: &str) -> &str {
    path.strip_prefix("fields/").unwrap_or(path)
}
