//! A server, three devices, and one piece of evidence that both officers hold.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::{ALL, BUDI, OFFICERS, REGENCY, SARI, Story, VILLAGE, list, number, text};
use crate::demo::Stopped;
use crate::demo::stage::Grant;
use crate::demo::words;

/// What the clock of one device says instead of the time: a battery was taken out.
const BUDI_SAYS_MS: i64 = 8 * 60 * 60 * 1000;

impl Story<'_> {
    pub(super) fn in_town(&mut self) -> Result<(), Stopped> {
        self.page.heading("In town, on a good link");
        self.open_the_server()?;
        self.enrol_everybody()?;
        self.share_one_piece()
    }

    fn open_the_server(&mut self) -> Result<(), Stopped> {
        self.page.progress("starting the server …");
        let started = Instant::now();
        self.stage.start_server()?;
        let ms = started.elapsed().as_millis();
        self.page
            .fact("Server", &format!("started on an empty folder in {ms} ms"));
        let file = self.stage.framework_file().display().to_string();
        let framework = self.stage.server_json(&["import", "framework", &file])?;
        let file = self.stage.regions_file().display().to_string();
        let regions =
            self.stage
                .server_json(&["import", "regions", &file, "--version", "example"])?;
        self.page.fact(
            "Imported",
            &format!(
                "{}: {} indicators, {} rows; {} regions",
                text(&framework, "framework"),
                number(&framework, "indicators"),
                number(&framework, "rows"),
                number(&regions, "regions"),
            ),
        );
        Ok(())
    }

    fn enrol_everybody(&mut self) -> Result<(), Stopped> {
        self.page.progress("enrolling three devices …");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let officer = Grant {
            role: "officer",
            region: VILLAGE,
        };
        let verifier = Grant {
            role: "verifier",
            region: REGENCY,
        };
        let people = [
            (
                "Sari",
                officer,
                0,
                "officer of the village Taram (13.07.05.2001)",
            ),
            (
                "Budi",
                officer,
                BUDI_SAYS_MS - now_ms,
                "officer of the same village; the clock of this device says 1970",
            ),
            (
                "Wati",
                verifier,
                0,
                "verifier of the regency above it (13.07)",
            ),
        ];
        for (name, grant, clock_skew_ms, about) in people {
            self.stage.enrol(name, grant, clock_skew_ms)?;
            self.page.fact(name, about);
        }
        let devices = self.stage.server_json(&["devices"])?;
        let enrolled = list(&devices, "devices").len();
        self.claims
            .check("three devices are enrolled", enrolled == ALL.len(), || {
                format!("{enrolled} are")
            });
        Ok(())
    }

    fn share_one_piece(&mut self) -> Result<(), Stopped> {
        self.page.progress("sharing one piece of evidence …");
        self.at_once(&OFFICERS, |stage, person| stage.bukti(person, &["sync"]))?;
        let narrative = self.stage.write("narrative.txt", words::NARRATIVE)?;
        let narrative = narrative.display().to_string();
        let made = self.stage.bukti(
            SARI,
            &[
                "evidence",
                "new",
                "--kind",
                "regulation",
                "--title",
                "Perdes APBDes 2025",
                "--row",
                "I.1.3",
                "--set",
                "subtype=decree",
                "--set",
                "year=2025",
                "--narrative-file",
                &narrative,
            ],
        )?;
        self.shared = text(&made, "id").to_owned();
        self.stage.bukti(SARI, &["sync"])?;
        self.stage.bukti(BUDI, &["sync"])?;
        let held = self
            .stage
            .bukti(BUDI, &["evidence", "show", &self.shared])?;
        self.page.fact(
            "Evidence",
            &format!(
                "Sari starts \"{}\" ({}, row I.1.3); both officers hold it",
                text(&held, "title"),
                text(&held, "kind"),
            ),
        );
        Ok(())
    }
}
