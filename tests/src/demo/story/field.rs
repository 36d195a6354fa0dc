//! The bad link: cut again and again, and the server killed in the middle.

use std::time::{Duration, Instant};

use bukti_command::show::show_bytes;
use serde_json::Value;

use super::{ALL, Cost, OFFICERS, Story, number, text};
use crate::demo::Stopped;
use crate::demo::stage::{Stage, Syncing};

/// Rounds of syncing after which something is wrong. The first brings the officers' work to the
/// server; what one sent after the other was done comes with the second.
const ROUNDS_MAX: usize = 5;

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

/// How the server stood when it was killed and when it was back.
struct Killed {
    /// Records on its disk before.
    before: u64,
    /// Records on its disk after.
    after: u64,
    /// Who was in the middle of a sync.
    syncing: Vec<usize>,
    /// What was cut until then.
    cuts: u64,
    /// How long it took until it listened again.
    took: Duration,
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
        let killed = self.officers_sync(before, began)?;
        self.tell_killed(&killed);
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
                "after {} s and {} cuts, with {} up and {} down on the wire",
                began.elapsed().as_secs(),
                wire.cuts,
                show_bytes(wire.bytes_up),
                show_bytes(wire.bytes_down),
            ),
        );
        self.claims
            .check("the link was cut while they synced", wire.cuts > 0, || {
                "it never was".into()
            });
        self.check_up_to_date()
    }

    /// Both officers sync at once; the server is killed once the link was cut and records arrived.
    fn officers_sync(&mut self, before: Wire, began: Instant) -> Result<Killed, Stopped> {
        let records = number(&self.stage.server_json(&["status"])?, "position");
        let mut syncing = self.begin(&OFFICERS)?;
        let mut killed = None;
        while syncing.iter().any(Syncing::runs) {
            let wire = self.tell_progress(&syncing, before, began)?;
            for sync in &mut syncing {
                self.note_ended(sync)?;
            }
            if killed.is_none() && wire.cuts > 0 {
                let standing = self.stage.server_json(&["status"])?;
                if number(&standing, "position") > records {
                    killed = Some(self.kill(&standing, &syncing, wire.cuts)?);
                }
            }
        }
        killed.ok_or_else(|| {
            Stopped(
                "the sync was over before the link was cut and the server could be killed".into(),
            )
        })
    }

    fn kill(
        &mut self,
        standing: &Value,
        syncing: &[Syncing],
        cuts: u64,
    ) -> Result<Killed, Stopped> {
        self.stage.kill_server();
        self.page
            .progress("the server is killed and starts again …");
        let started = Instant::now();
        self.stage.start_server()?;
        let took = started.elapsed();
        let back = self.stage.server_json(&["status"])?;
        let (before, after) = (number(standing, "position"), number(&back, "position"));
        let same_end = after > before || text(standing, "chain") == text(&back, "chain");
        self.claims.check(
            "no record that was acknowledged before the server was killed is missing after it",
            after >= before && same_end,
            || format!("{before} before, {after} after"),
        );
        let syncing = syncing
            .iter()
            .filter(|sync| sync.runs())
            .map(|sync| sync.person)
            .collect();
        Ok(Killed {
            before,
            after,
            syncing,
            cuts,
            took,
        })
    }

    fn tell_killed(&mut self, killed: &Killed) {
        let names: Vec<&str> = killed
            .syncing
            .iter()
            .map(|&person| self.name(person))
            .collect();
        let cuts = match killed.cuts {
            1 => "1 cut".to_owned(),
            cuts => format!("{cuts} cuts"),
        };
        self.page.fact(
            "Killed",
            &format!(
                "after {cuts}, while {} synced, the server is killed (SIGKILL) with {} records on disk",
                names.join(" and "),
                killed.before,
            ),
        );
        self.page.fact(
            "Back",
            &format!(
                "{} ms later on another port, with {} records; the devices go on by themselves",
                killed.took.as_millis(),
                killed.after,
            ),
        );
        self.claims.check(
            "the server was killed in the middle of a sync",
            !names.is_empty(),
            || "nobody synced any more".into(),
        );
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
        let names: Vec<&str> = syncing
            .iter()
            .filter(|sync| sync.runs())
            .map(|sync| self.name(sync.person))
            .collect();
        self.page.progress(&format!(
            "syncing over the bad link … {} s, {} cuts, {} up, {} down ({})",
            began.elapsed().as_secs(),
            wire.cuts,
            show_bytes(wire.bytes_up),
            show_bytes(wire.bytes_down),
            names.join(", "),
        ));
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
