//! No network: both officers work, on the same piece and on others.

use serde_json::Value;

use super::{ALL, BUDI, OFFICERS, SARI, Story, number, text};
use crate::demo::Stopped;
use crate::demo::stage::Stage;
use crate::demo::words;

/// Pieces that each officer enters besides the shared one; enough for the link to be cut.
const PIECES: u64 = 9;

/// Of these, the first are declared ready.
const PIECES_READY: u64 = 4;

impl Story<'_> {
    pub(super) fn in_the_village(&mut self) -> Result<(), Stopped> {
        self.page.heading("In the village, without a link");
        let connections = |stage: &Stage| -> u64 {
            ALL.iter()
                .map(|&person| stage.person(person).traffic().connections())
                .sum()
        };
        let before = connections(self.stage);
        self.sari_writes()?;
        self.budi_writes()?;
        self.page.progress("both enter more evidence …");
        self.at_once(&OFFICERS, enter_more)?;
        for person in OFFICERS {
            let status = self.stage.bukti(person, &["status"])?;
            let unsent = number(&status, "unsent");
            self.waiting += unsent;
            self.page.fact(
                self.name(person),
                &format!(
                    "enters {PIECES} more pieces with minutes of meetings, {PIECES_READY} of them \
                     ready; {unsent} edits wait on the device"
                ),
            );
        }
        let made = connections(self.stage) - before;
        self.claims
            .check("the village had no network", made == 0, || {
                format!("{made} connections were made")
            });
        Ok(())
    }

    fn sari_writes(&mut self) -> Result<(), Stopped> {
        let file = self.stage.write("sari.txt", words::NARRATIVE_OF_SARI)?;
        self.stage.bukti(
            SARI,
            &[
                "evidence",
                "edit",
                &self.shared,
                "--set",
                "number=4/2025",
                "--set",
                "subject=Village budget",
                "--add-row",
                "I.1.9",
                "--narrative-file",
                &file.display().to_string(),
            ],
        )?;
        self.page.fact(
            "Sari",
            &format!("adds to the narrative: \"{}\"", words::SENTENCE_OF_SARI),
        );
        self.page
            .fact("", "sets number = 4/2025 and subject, adds row I.1.9");
        Ok(())
    }

    fn budi_writes(&mut self) -> Result<(), Stopped> {
        let file = self.stage.write("budi.txt", words::NARRATIVE_OF_BUDI)?;
        self.stage.bukti(
            BUDI,
            &[
                "evidence",
                "edit",
                &self.shared,
                "--set",
                "number=04 of 2025",
                "--set",
                "enacted_on=2024-12-30",
                "--set",
                "signatory=Wali Nagari",
                "--add-row",
                "I.1.8",
                "--narrative-file",
                &file.display().to_string(),
            ],
        )?;
        self.stage
            .bukti(BUDI, &["evidence", "ready", &self.shared])?;
        self.page.fact(
            "Budi",
            &format!("adds to the narrative: \"{}\"", words::SENTENCE_OF_BUDI),
        );
        self.page.fact(
            "",
            "sets number = 04 of 2025, enacted_on and signatory, adds row I.1.8, declares it ready",
        );
        Ok(())
    }
}

fn enter_more(stage: &Stage, person: usize) -> Result<(), Stopped> {
    for piece in 1..=PIECES {
        let made = enter(stage, person, piece)?;
        if piece <= PIECES_READY {
            stage.bukti(person, &["evidence", "ready", text(&made, "id")])?;
        }
    }
    Ok(())
}

fn enter(stage: &Stage, person: usize, piece: u64) -> Result<Value, Stopped> {
    let name = stage.person(person).name;
    // Each officer writes about other meetings.
    let meeting = piece + PIECES * person as u64;
    let minutes = stage.write(&format!("minutes-{meeting}.txt"), words::minutes(meeting))?;
    let title = format!("Hamlet meeting {meeting}, minutes by {name}");
    let day = format!("date=2025-01-{:02}", meeting + 1);
    stage.bukti(
        person,
        &[
            "evidence",
            "new",
            "--kind",
            "event",
            "--title",
            &title,
            "--row",
            "IV.1.2",
            "--set",
            "title=Musyawarah dusun",
            "--set",
            &day,
            "--set",
            "place=Balai dusun",
            "--narrative-file",
            &minutes.display().to_string(),
        ],
    )
}
