//! The bad link: cut again and again, and the server killed in the middle.

use std::time::Instant;

use bukti_command::show::show_bytes;
use serde_json::Value;

use super::{ALL, Cost, OFFICERS, Story, counted, number, text};
use crate::demo::Stopped;
use crate::demo::stage::{Stage, Syncing};

/// Rounds of syncing after which something is wrong. The first brings the officers' work to the
/// server; what one sent after the other was done comes with the second.
const ROUNDS_MAX: usize = 5;

/// Bytes from the devices since a cut that show a connection in the middle of its work: more than
/// it takes to open it.
const FLOWING_BYTES: u64 = 4 * 1024;

/// What went over everybody's link.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Wire {
    cuts: u64,
    bytes_up: u64,
    bytes_down: u64,
}

impl Wire {
    fn of(stage: &Stage, people: &[usize]) -> Self {
        let sum = |count: fn(&crate::link::Traffic) -> u64| {
            people
                .iter()
                .map(|&person| count(stage.person(person).traffic()))
                .sum()
        };
        Self {
            cuts: sum(|traffic| traffic.cuts()),
            bytes_up: sum(|traffic| traffic.bytes_up()),
            bytes_down: sum(|traffic| traffic.bytes_down()),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            cuts: self.cuts - before.cuts,
            bytes_up: self.bytes_up - before.bytes_up,
            bytes_down: self.bytes_down - before.bytes_down,
        }
    }
}

impl Story<'_> {
    pub(super) fn over_a_bad_link(&mut self) -> Result<(), Stopped> {
        let link = self.options.link;
        self.page.heading(&format!(
            "A link appears: {} kbit/s, {} ms, cut every {} s",
            link.bits_per_second / 1000,
            link.round_trip.as_millis(),
            link.cut_after.unwrap_or_default().as_secs_f32(),
        ));
        self.stage.go_where(link);
        let wires: Vec<Wire> = ALL
            .iter()
            .map(|&person| Wire::of(self.stage, &[person]))
            .collect();
        let began = Instant::now();
        let before = Wire::of(self.stage, &ALL);
        let records = self.records()?;
        self.officers_sync(before, began)?;
        let mut rounds = 1;
        while rounds < ROUNDS_MAX && (rounds == 1 || !self.all_hold_the_same()?) {
            self.sync_round(&ALL, before, began)?;
            rounds += 1;
        }
        for (person, before) in ALL.into_iter().zip(wires) {
            let wire = Wire::of(self.stage, &[person]).since(before);
            let cost = self.costs.entry(person).or_default();
            (cost.cuts, cost.bytes_up, cost.bytes_down) =
                (wire.cuts, wire.bytes_up, wire.bytes_down);
        }
        let wire = Wire::of(self.stage, &ALL).since(before);
        self.page.fact(
            "Done",
            &format!(
                "after {} s and {}, with {} up and {} down on the wire",
                began.elapsed().as_secs(),
                counted(wire.cuts, "cut"),
                show_bytes(wire.bytes_up),
                show_bytes(wire.bytes_down),
            ),
        );
        self.claims
            .check("the link was cut while they synced", wire.cuts > 0, || {
                "it never was".into()
            });
        let (came, waited) = (self.records()? - records, self.waiting);
        self.claims.check(
            format!("each of the {waited} edits that waited is on the server's disk, once"),
            came == waited && waited > 0,
            || format!("{came} records came"),
        );
        self.check_up_to_date()
    }

    /// Both officers sync at once. The server is killed when the link was cut, records arrived and
    /// bytes flow again.
    fn officers_sync(&mut self, before: Wire, began: Instant) -> Result<(), Stopped> {
        let records = self.records()?;
        let mut syncing = self.begin(&OFFICERS)?;
        let mut first_cut: Option<Wire> = None;
        let mut killed = false;
        while syncing.iter().any(Syncing::runs) {
            let wire = self.tell_progress(&syncing, before, began)?;
            for sync in &mut syncing {
                self.note_ended(sync)?;
            }
            if wire.cuts > 0 && !killed {
                let since = wire.since(*first_cut.get_or_insert(wire));
                if since.bytes_up < FLOWING_BYTES {
                    continue;
                }
                let standing = self.stage.server_json(&["status"])?;
                if number(&standing, "position") > records {
                    self.kill(&standing, &mut syncing, wire.cuts)?;
                    killed = true;
                }
            }
        }
        match killed {
            true => Ok(()),
            false => Err(Stopped(
                "the sync was over before the link was cut and the server could be killed".into(),
            )),
        }
    }

    fn kill(
        &mut self,
        standing: &Value,
        syncing: &mut [Syncing],
        cuts: u64,
    ) -> Result<(), Stopped> {
        self.stage.kill_server();
        for sync in &mut *syncing {
            self.note_ended(sync)?;
        }
        let working = self.working(syncing);
        let before = number(standing, "position");
        self.page.fact(
            "Killed",
            &format!(
                "after {}, while {working} synced: the server (SIGKILL), with {before} records on its disk",
                counted(cuts, "cut"),
            ),
        );
        let started = Instant::now();
        self.stage.start_server()?;
        let ms = started.elapsed().as_millis();
        let back = self.stage.server_json(&["status"])?;
        let after = number(&back, "position");
        self.page.fact(
            "Back",
            &format!("{ms} ms later on another port, with {after} records; the devices go on by themselves"),
        );
        self.claims.check(
            "the server was killed in the middle of a sync",
            !working.is_empty(),
            || "nobody synced any more".into(),
        );
        let same_end = after > before || text(standing, "chain") == text(&back, "chain");
        self.claims.check(
            "no record that was acknowledged before the server was killed is missing after it",
            after >= before && same_end,
            || format!("{before} before, {after} after"),
        );
        Ok(())
    }

    fn records(&self) -> Result<u64, Stopped> {
        Ok(number(&self.stage.server_json(&["status"])?, "position"))
    }

    /// The names of those whose sync still runs.
    fn working(&self, syncing: &[Syncing]) -> String {
        let names: Vec<&str> = syncing
            .iter()
            .filter(|sync| sync.runs())
            .map(|sync| self.name(sync.person))
            .collect();
        names.join(" and ")
    }

    fn sync_round(
        &mut self,
        people: &[usize],
        before: Wire,
        began: Instant,
    ) -> Result<(), Stopped> {
        let mut syncing = self.begin(people)?;
        while syncing.iter().any(Syncing::runs) {
            self.tell_progress(&syncing, before, began)?;
            for sync in &mut syncing {
                self.note_ended(sync)?;
            }
        }
        Ok(())
    }

    fn begin(&self, people: &[usize]) -> Result<Vec<Syncing>, Stopped> {
        people
            .iter()
            .map(|&person| self.stage.begin_sync(person))
            .collect()
    }

    fn tell_progress(
        &mut self,
        syncing: &[Syncing],
        before: Wire,
        began: Instant,
    ) -> Result<Wire, Stopped> {
        self.stage.wait_a_moment()?;
        let wire = Wire::of(self.stage, &ALL).since(before);
        let text = format!(
            "syncing over the bad link … {} s, {}, {} up, {} down ({})",
            began.elapsed().as_secs(),
            counted(wire.cuts, "cut"),
            show_bytes(wire.bytes_up),
            show_bytes(wire.bytes_down),
            self.working(syncing),
        );
        self.page.progress(&text);
        Ok(wire)
    }

    fn note_ended(&mut self, sync: &mut Syncing) -> Result<(), Stopped> {
        let Some(answer) = sync.ended()? else {
            return Ok(());
        };
        let cost = self.costs.entry(sync.person).or_default();
        *cost = Cost {
            runs_sent: cost.runs_sent + number(&answer, "sent"),
            runs_received: cost.runs_received + number(&answer, "received"),
            frames: cost.frames + number(&answer, "frames_up") + number(&answer, "frames_down"),
            reconnects: cost.reconnects + number(&answer, "reconnects"),
            ..*cost
        };
        Ok(())
    }

    fn all_hold_the_same(&self) -> Result<bool, Stopped> {
        let status = self.at_once(&ALL, |stage, person| stage.bukti(person, &["status"]))?;
        let listed = self.at_once(&OFFICERS, |stage, person| {
            let listed = stage.bukti(person, &["evidence", "list"])?;
            Ok(super::list(&listed, "evidence").len())
        })?;
        let shown = self.at_once(&ALL, |stage, person| {
            stage.bukti(person, &["evidence", "show", &self.shared])
        });
        Ok(status.iter().all(|status| number(status, "unsent") == 0)
            && listed[0] == listed[1]
            && shown.is_ok_and(|shown| shown.iter().all(|one| *one == shown[0])))
    }

    fn check_up_to_date(&mut self) -> Result<(), Stopped> {
        for person in ALL {
            let status = self.stage.bukti(person, &["status"])?;
            let nothing = |key: &str| status[key].as_array().is_some_and(Vec::is_empty);
            let name = self.name(person);
            self.claims.check(
                format!("{name}'s device has sent everything, and its digest equals the server's"),
                status["unsent"] == 0
                    && status["quarantined"] == 0
                    && status["findings"] == 0
                    && nothing("differs")
                    && number(&status, "position") > 0,
                || status.to_string(),
            );
        }
        Ok(())
    }
}
