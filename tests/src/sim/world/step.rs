//! What a step of the script does in a world.

use bukti_core::authority::{Grant, Role};
use bukti_core::id::{DocumentId, RunId};

use super::super::check::Violation;
use super::super::people::{beginning, edits, mark, marking, workplace};
use super::super::random::Random;
use super::super::script::{Act, Step, What};
use super::{Event, World};

/// How long a crash waits for the call that it was planned for, at least and at most. Then the
/// power goes without one.
const CALL_WAIT_MS: (u64, u64) = (60_000, 600_000);

impl World {
    pub(super) fn step(&mut self, index: usize, step: &Step) -> Result<Option<usize>, Violation> {
        let now = self.agenda.now();
        let mut random = Random::of(self.seed, 6, step.number);
        match step.act {
            Act::Create { device, .. } | Act::Edit { device, .. }
                if self.phones[device].device().is_none() =>
            {
                self.postponed[device].push(index);
            }
            Act::Create { device, document } => {
                self.create(device, document, step.number, &mut random)?;
                return Ok(Some(device));
            }
            Act::Edit {
                device,
                document,
                what,
            } => {
                self.edit(device, document, what, step.number, &mut random)?;
                return Ok(Some(device));
            }
            Act::Signal { device, signal } => self.set_signal(device, signal),
            Act::Cut { device } => {
                if let Some(connection) = self.current[device] {
                    self.cut(connection);
                }
            }
            Act::CrashDevice { device, call, rows } => {
                self.with_phone(device, |phone, _, effects| {
                    phone.crash(step.number, call, rows, effects);
                })?;
                let by = now + random.between(CALL_WAIT_MS.0, CALL_WAIT_MS.1);
                self.agenda
                    .plan(by, Event::Overdue(Some(device), step.number));
            }
            Act::Keep { device } => {
                self.phones[device].keep();
                self.oracle.copied(device);
            }
            Act::Restore { device } => {
                let mut restored = false;
                self.with_phone(device, |phone, _, effects| {
                    restored = phone.restore(effects);
                })?;
                if restored {
                    self.oracle.restored(device);
                } else {
                    self.phones[device].keep();
                    self.oracle.copied(device);
                }
            }
            Act::CrashServer { stage, rows } => {
                let mut effects = Vec::new();
                self.server.crash(step.number, stage, rows, &mut effects);
                self.perform_server(effects)?;
                let by = now + random.between(CALL_WAIT_MS.0, CALL_WAIT_MS.1);
                self.agenda.plan(by, Event::Overdue(None, step.number));
            }
            Act::FillDevice {
                device,
                room,
                for_ms,
            } => {
                self.phones[device].set_room(room);
                self.agenda.plan(now + for_ms, Event::Space(Some(device)));
            }
            Act::FillServer { room, for_ms } => {
                self.server.set_room(room);
                self.agenda.plan(now + for_ms, Event::Space(None));
            }
            Act::Revoke { device } => {
                let id = self.phones[device].id();
                let mut effects = Vec::new();
                self.server
                    .administer(now, &mut effects, |ledger, wall| ledger.revoke(wall, id));
                self.server.revoked(now, id, &mut effects);
                self.perform_server(effects)?;
            }
            Act::Demote { device } => self.demote(device)?,
            Act::Clock { device, to } => self.phones[device].set_clock(now, to),
            Act::Forge {
                device,
                document,
                forgery,
            } => {
                let document = self.documents[document];
                self.with_phone(device, |phone, now, effects| {
                    phone.forge(now, forgery, document);
                    phone.offer(now, effects);
                })?;
            }
        }
        Ok(None)
    }

    fn demote(&mut self, device: usize) -> Result<(), Violation> {
        let id = self.phones[device].id();
        let now = self.agenda.now();
        let enrolled = self.standing[device].enrolled.iter();
        let grants = enrolled.map(|grant| Grant {
            role: Role::Observer,
            scope: grant.scope.clone(),
        });
        let grants = grants.collect();
        let mut effects = Vec::new();
        self.server.administer(now, &mut effects, |ledger, wall| {
            ledger.grant(wall, id, grants)
        });
        self.perform_server(effects)
    }

    fn create(
        &mut self,
        device: usize,
        document: usize,
        number: u64,
        random: &mut Random,
    ) -> Result<(), Violation> {
        let enrolled = &self.standing[device].enrolled;
        let Some(scope) = workplace(enrolled).cloned() else {
            return Ok(());
        };
        let mark = mark(number);
        let new = beginning(&mark);
        let mut made = None;
        self.with_phone(device, |phone, now, effects| {
            let wall = phone.wall(now);
            let drawn = random.bytes();
            made = phone.act(effects, |device, _| {
                device.create(wall, drawn, &scope, &new)
            });
            phone.offer(now, effects);
        })?;
        if let Some((id, run)) = made {
            self.documents[document] = Some(id);
            self.promise(device, id, mark, run);
        }
        Ok(())
    }

    fn edit(
        &mut self,
        device: usize,
        document: usize,
        what: What,
        number: u64,
        random: &mut Random,
    ) -> Result<(), Violation> {
        let Some(id) = self.one_at_hand(device, document) else {
            return Ok(());
        };
        let mark = mark(number);
        let mut made = None;
        self.with_phone(device, |phone, now, effects| {
            let wall = phone.wall(now);
            made = phone.act(effects, |device, _| {
                let shown = device.show(&id)?;
                let mut edits = edits(what, &shown.evidence, number, random);
                edits.extend(marking(mark.clone(), &shown.evidence));
                device.edit(wall, &id, &edits)
            });
            phone.offer(now, effects);
        })?;
        if let Some(Some(run)) = made {
            self.promise(device, id, mark, run);
        }
        Ok(())
    }

    /// The document, or the next one that the device has.
    fn one_at_hand(&mut self, device: usize, document: usize) -> Option<DocumentId> {
        let owner = self.phones[device].device()?;
        let (before, after) = self.documents.split_at(document);
        let mut known = after.iter().chain(before).flatten();
        known.find(|id| owner.show(id).is_ok()).copied()
    }

    fn promise(&mut self, device: usize, document: DocumentId, mark: String, run: RunId) {
        self.totals.edits += 1;
        if self.trace {
            eprintln!("        device {device}: {mark} is in run {run} of {document}");
        }
        self.oracle.promise(device, document, mark, run);
    }
}
