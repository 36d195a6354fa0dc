//! Disks that fail at any call of a device's life, that are full, and caches that are not on them.

use std::collections::BTreeSet;

use automerge::Automerge;
use bukti_core::authority::{Grant, Role};
use bukti_core::evidence::{self, Declared, Edit};
use bukti_core::id::DocumentId;
use bukti_core::journal::memory::{Fault, MemoryStorage};
use bukti_core::kv::{KvFault, MemoryKv, MemorySnapshot};
use bukti_core::scope::Scope;
use bukti_sync_protocol::bye::ByeCode;
use bukti_sync_protocol::client::Event;
use bukti_sync_protocol::item::Item;

use super::world::{NOW, Phone, WARD, World, evidence};
use crate::device::tail::Settled;
use crate::device::{DeviceError, PutOff};
use crate::limits::{ENTERING_RETRY_MS, TAIL_RESERVE_BYTES};

/// A call that nobody comes to.
const NEVER: u64 = u64::MAX / 2;

/// What a device does from its enrolment on.
#[derive(Debug, Clone, Copy)]
enum Act {
    Enrol,
    Create,
    /// Creates where its grants do not reach, with an app that does not care.
    Trespass,
    Edit,
    Sync,
    /// Somebody else edits the same document and begins another.
    Other,
    Reopen,
}

const ACTS: [Act; 14] = [
    Act::Enrol,
    Act::Create,
    Act::Edit,
    Act::Sync,
    Act::Other,
    Act::Edit,
    Act::Trespass,
    Act::Sync,
    Act::Other,
    Act::Reopen,
    Act::Sync,
    Act::Edit,
    Act::Reopen,
    Act::Sync,
];

/// How the process came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The machine goes on: what was written and not synced is in its cache.
    Process,
    /// The power went and took all that was not synced.
    PowerKeepsNothing,
    /// The power went and left all that was written.
    PowerKeepsAll,
}

struct Life {
    world: World,
    phone: Phone,
    other: Phone,
    secret: [u8; 16],
    done: usize,
    document: Option<DocumentId>,
    marks: u32,
    /// Rows of the edits that returned, each of its own.
    promised: BTreeSet<String>,
}

impl Life {
    fn new() -> Self {
        let mut world = World::new();
        let secret = world.draw();
        world.invite(secret, "Siti", Role::Officer, WARD);
        let other = world.phone("Budi", Role::Officer, WARD);
        Self {
            world,
            other,
            phone: Phone::empty(),
            secret,
            done: 0,
            document: None,
            marks: 0,
            promised: BTreeSet::new(),
        }
    }

    fn disks(&self) -> [&MemoryStorage; 3] {
        [&self.phone.home, &self.phone.tail, &self.phone.quarantine]
    }

    /// Goes on with what was not done yet.
    fn live(&mut self) -> Result<(), DeviceError> {
        while let Some(act) = ACTS.get(self.done) {
            self.perform(*act)?;
            self.done += 1;
        }
        Ok(())
    }

    fn perform(&mut self, act: Act) -> Result<(), DeviceError> {
        self.marks += 1;
        let mark = format!("mark-{:03}", self.marks);
        match act {
            Act::Enrol => {
                self.world.use_invitation(&mut self.phone, self.secret)?;
                self.phone.device().set_local_checks(false);
            }
            Act::Sync => drop(self.world.try_sync(&mut self.phone)?),
            Act::Create => self.document = Some(self.create(WARD, &mark)?),
            Act::Trespass => drop(self.create("13.71.01.1001", &mark)?),
            Act::Other => self.work_elsewhere(mark),
            Act::Reopen => {
                let rows = self.phone.close();
                self.phone.try_open(rows)?;
                self.phone.device().set_local_checks(false);
            }
            Act::Edit => {
                let id = self.document.expect("it was created before");
                let edit = [Edit::AddRow(mark.clone())];
                self.phone.device().edit(NOW, &id, &edit)?;
                self.promised.insert(mark);
            }
        }
        Ok(())
    }

    fn create(&mut self, scope: &str, mark: &str) -> Result<DocumentId, DeviceError> {
        let mut new = evidence("Papan");
        new.rows.insert(mark.to_owned());
        let (random, scope) = (self.world.draw(), scope.parse().unwrap());
        let created = self.phone.device().create(NOW, random, &scope, &new)?;
        self.promised.insert(mark.to_owned());
        Ok(created.0)
    }

    /// What arrives in full with the next page, as a record and as a new document.
    fn work_elsewhere(&mut self, mark: String) {
        self.world.sync(&mut self.other);
        if let Some(id) = self.document {
            let edit = [Edit::AddRow(mark.clone())];
            self.other.device().edit(NOW, &id, &edit).unwrap();
            self.promised.insert(mark);
        }
        self.world.create(&mut self.other, "Baliho");
        self.world.sync(&mut self.other);
    }

    /// The power goes; what was not synced stays if `choice` is 1.
    fn crash(&self, choice: usize) {
        for disk in self.disks() {
            disk.crash(&mut |_| choice);
        }
    }

    /// The process starts anew; a device that is not enrolled yet is enrolled with what it has.
    fn start(&mut self, kv: MemoryKv) {
        match self.phone.try_open(kv) {
            Ok(()) => {
                self.phone.device().set_local_checks(false);
                self.done = self.done.max(1);
            }
            Err(DeviceError::NotEnrolled) if self.done == 0 => {}
            Err(error) => panic!("not opened again: {error:?}"),
        }
    }

    fn catch_up(&mut self) {
        if self.phone.device.is_some() {
            self.world.sync(&mut self.phone);
        }
    }

    /// Every edit that returned is on the server, on the device or in quarantine.
    fn nothing_is_lost(&mut self) {
        let mut found = String::new();
        for listed in self.world.ledger.reader().documents(&Scope::all()) {
            let saved = self.world.ledger.reader().saved(&listed.unwrap().0);
            let document = Automerge::load(&saved.unwrap().unwrap()).unwrap();
            found += &format!("{:?}", evidence::view(&document).rows);
        }
        if self.phone.device.is_some() {
            let ids: Vec<DocumentId> = self
                .phone
                .device()
                .list()
                .unwrap()
                .iter()
                .map(|row| row.id)
                .collect();
            for id in ids {
                found += &format!("{:?}", self.phone.device().show(&id).unwrap().evidence.rows);
            }
            for refused in self.phone.device().quarantined() {
                found += &format!("{:?}", refused.edits);
            }
        }
        let missing: Vec<&String> = self
            .promised
            .iter()
            .filter(|mark| !found.contains(*mark))
            .collect();
        assert!(missing.is_empty(), "{missing:?} of {:?}", self.promised);
    }

    fn everything_arrived(&mut self) {
        assert_eq!(self.done, ACTS.len());
        self.nothing_is_lost();
        let status = self.phone.device().status().unwrap();
        assert_eq!((status.unsent, status.to_enter_again), (0, 0));
        // What did not return and was kept all the same is there beside what was done again.
        assert!((1..=2).contains(&status.quarantined), "{status:?}");
        assert!(status.differs.is_empty());
        let document = self.document.unwrap();
        self.world.sync(&mut self.other);
        assert_eq!(self.phone.shown(&document), self.other.shown(&document));
        assert_eq!(self.phone.titles().len(), self.other.titles().len());
    }
}

/// Lets a call to one disk fail, ends the process, starts it again and lets it do the rest. False
/// once no call failed.
fn fails_and_goes_on(disk: usize, call: u64, fault: Fault, end: End) -> bool {
    let mut life = Life::new();
    life.disks()[disk].fail_at(call, fault);
    let lived = life.live();
    // A refused run that is not read is gone on without.
    let met = !life.disks()[disk].is_to_fail();
    assert!(met || lived.is_ok(), "{lived:?}");
    let rows = life.phone.close();
    match end {
        End::Process => {}
        End::PowerKeepsNothing => life.crash(0),
        End::PowerKeepsAll => life.crash(1),
    }
    life.disks()[disk].fail_at(NEVER, fault);
    if !met {
        return false;
    }
    life.start(rows);
    life.nothing_is_lost();
    life.live().unwrap();
    life.everything_arrived();
    life.phone.crash(&mut |_| 0);
    life.everything_arrived();
    true
}

#[test]
fn whichever_call_to_a_disk_fails_no_edit_that_returned_is_lost_and_the_device_goes_on() {
    for (disk, calls_min) in [(0, 10), (1, 40), (2, 6)] {
        for end in [End::Process, End::PowerKeepsNothing, End::PowerKeepsAll] {
            let mut call = 1;
            // Both ways to fail take turns.
            let fault = |call| [Fault::Io, Fault::Full][(call + end as u64) as usize % 2];
            while fails_and_goes_on(disk, call, fault(call), end) {
                call += 1;
            }
            assert!(
                call > calls_min,
                "only {call} calls of disk {disk} were tried"
            );
        }
    }
}

/// What the next process finds of rows whose store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// All but the batch whose writing failed.
    WithoutBatch,
    /// That batch, too.
    WithBatch,
    /// What was flushed, and no more.
    Flushed,
    /// An empty store: a damaged one is moved aside.
    Gone,
}

/// The same for a call to the store of confirmed rows.
fn rows_fail_and_the_device_goes_on(call: u64, fault: KvFault, left: Rows, end: End) -> bool {
    let mut life = Life::new();
    life.phone.rows.fail_at(call, fault);
    let lived = life.live();
    let rows = life.phone.close();
    assert_eq!(lived.is_err(), rows.has_failed(), "{lived:?}");
    let Err(error) = lived else {
        return false;
    };
    assert!(!error.is_refusal(), "{error}");
    rows.open_anew(left == Rows::WithBatch);
    match left {
        Rows::WithoutBatch | Rows::WithBatch => {}
        Rows::Flushed => rows.restore(&rows.flushed()),
        Rows::Gone => rows.restore(&MemorySnapshot::default()),
    }
    match end {
        End::Process => {}
        End::PowerKeepsNothing => life.crash(0),
        End::PowerKeepsAll => life.crash(1),
    }
    life.start(rows);
    match left {
        Rows::WithoutBatch | Rows::WithBatch => {}
        // An edit of what the rows lost is in the tail, and seen once the rows came again.
        Rows::Flushed | Rows::Gone => life.catch_up(),
    }
    life.nothing_is_lost();
    life.live().unwrap();
    life.everything_arrived();
    life.phone.crash(&mut |_| 0);
    life.everything_arrived();
    true
}

#[test]
fn whichever_call_to_the_confirmed_rows_fails_nothing_is_lost_and_the_device_goes_on() {
    for (left, fault) in [
        (Rows::WithoutBatch, KvFault::Io),
        (Rows::WithBatch, KvFault::Io),
        (Rows::Flushed, KvFault::Io),
        (Rows::Gone, KvFault::Damaged),
    ] {
        let ends = [End::Process, End::PowerKeepsNothing, End::PowerKeepsAll];
        let mut call = 1;
        // The ways in which the process ends take turns.
        let end = |call| ends[call as usize % 3];
        while rows_fail_and_the_device_goes_on(call, fault, left, end(call)) {
            call += 1;
        }
        assert!(call > 140, "only {call} calls were tried");
    }
}

/// What a page brought is handed to the system before the tail lets go of it.
#[test]
fn a_process_that_is_killed_after_a_page_has_its_runs_and_goes_on_in_the_same_life() {
    let mut world = World::new();
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut phone, "Papan");
    world.sync(&mut phone);
    let (shown, incarnation) = (phone.shown(&id), phone.device().incarnation());
    let rows = phone.close();
    rows.restore(&rows.flushed());
    phone.open(rows);
    assert_eq!(phone.shown(&id), shown);
    assert_eq!(phone.device().incarnation(), incarnation);
    assert_eq!(phone.device().unsent(), 0);
}

#[test]
fn what_a_failed_sync_left_in_the_cache_is_on_the_disk_before_it_is_offered() {
    let mut world = World::new();
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    // Measuring free space and writing succeed; the sync fails.
    phone.tail.fail_at(3, Fault::Io);
    let scope = WARD.parse().unwrap();
    let failed = phone
        .device()
        .create(NOW, world.draw(), &scope, &evidence("Papan"));
    failed.unwrap_err();
    // The process starts anew on the same machine, whose cache shows the run.
    phone.reopen();
    assert_eq!((phone.titles().len(), phone.device().unsent()), (1, 1));
    phone.crash(&mut |_| 0);
    assert_eq!((phone.titles().len(), phone.device().unsent()), (1, 1));
    world.sync(&mut phone);
    assert_eq!(phone.device().unsent(), 0);
}

#[test]
fn an_identity_that_only_the_cache_shows_is_on_the_disk_before_it_counts() {
    let mut whole = Life::new();
    whole.perform(Act::Enrol).unwrap();
    let calls = whole.phone.home.calls();
    let mut seen_and_lost = 0;
    for call in 1..=calls {
        let mut life = Life::new();
        life.phone.home.fail_at(call, Fault::Io);
        life.perform(Act::Enrol).unwrap_err();
        let rows = life.phone.close();
        life.start(rows);
        if life.phone.device.is_none() {
            continue;
        }
        seen_and_lost += 1;
        life.document = Some(life.create(WARD, "mark-999").unwrap());
        life.phone.crash(&mut |_| 0);
        life.nothing_is_lost();
    }
    assert!(seen_and_lost > 0, "no sync of the folder failed");
}

#[test]
fn a_refused_run_that_only_the_cache_shows_is_on_the_disk_before_it_is_shown() {
    let mut seen_and_kept = 0;
    for call in 1.. {
        let mut life = Life::new();
        life.perform(Act::Enrol).unwrap();
        life.perform(Act::Trespass).unwrap();
        life.phone.quarantine.fail_at(call, Fault::Io);
        if life.perform(Act::Sync).is_ok() {
            break;
        }
        life.phone.reopen();
        let shown = life.phone.device().quarantined().len();
        life.phone.crash(&mut |_| 0);
        assert_eq!(life.phone.device().quarantined().len(), shown);
        seen_and_kept += shown;
    }
    assert!(seen_and_kept > 0, "no sync of the folder failed");
}

#[test]
fn a_refusal_that_a_full_disk_cannot_keep_stops_nothing_else_and_comes_again() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    siti.device().set_local_checks(false);
    let mut budi = world.phone("Budi", Role::Officer, WARD);
    let device = siti.device().id();
    let observer = Grant {
        role: Role::Observer,
        scope: WARD.parse().unwrap(),
    };
    world.create(&mut siti, "Papan");
    world.ledger.grant(NOW, device, vec![observer]).unwrap();
    world.create(&mut budi, "Baliho");
    world.sync(&mut budi);
    let document = budi.device().list().unwrap()[0].id;
    let ready = [Edit::Declare(Declared::Ready)];
    budi.device().edit(NOW, &document, &ready).unwrap();
    world.sync(&mut budi);
    siti.tail.set_free_bytes(TAIL_RESERVE_BYTES - 1);
    world.sync(&mut siti);
    assert!(siti.titles().contains(&"Baliho".to_owned()));
    assert_eq!(
        (siti.device().unsent(), siti.device().quarantined().len()),
        (1, 0)
    );
    let put_off = siti.device().put_off();
    assert!(matches!(put_off, Some(PutOff::Refusal(_))), "{put_off:?}");
    siti.tail.set_free_bytes(u64::MAX);
    siti.reopen();
    world.sync(&mut siti);
    assert_eq!(siti.device().put_off(), None);
    assert_eq!(
        (siti.device().unsent(), siti.device().quarantined().len()),
        (0, 1)
    );
}

/// A session may last for days, and nothing else would offer the run in it again.
#[test]
fn a_refusal_that_a_full_disk_cannot_keep_comes_again_in_the_same_session() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut siti, "Papan");
    let (tail, device) = (siti.tail.clone(), siti.device());
    device.opening(Vec::new(), "").unwrap();
    let run = device.offers()[0].run;
    let refused = |run| Event::Rejected {
        run,
        code: "forbidden".into(),
        sentence: "Only an officer may edit.".into(),
    };
    tail.set_free_bytes(TAIL_RESERVE_BYTES - 1);
    device.handle_event(NOW, [1; 16], &refused(run)).unwrap();
    let sentence = "Only an officer may edit.".to_owned();
    assert_eq!(device.put_off(), Some(PutOff::Refusal(sentence)));
    let later = NOW + ENTERING_RETRY_MS as i64;
    device.conclude(later - 1, true).unwrap();
    assert_eq!(device.offers(), []);
    assert!(device.put_off().is_some());
    device.conclude(later, true).unwrap();
    assert_eq!(device.put_off(), None);
    assert_eq!(device.offers()[0].run, run);
    tail.set_free_bytes(u64::MAX);
    device.handle_event(later, [2; 16], &refused(run)).unwrap();
    assert_eq!((device.unsent(), device.quarantined().len()), (0, 1));
    assert_eq!(device.put_off(), None);
}

/// The server has it by then, as another session on a copy of the device may show.
#[test]
fn a_refusal_of_what_waits_no_more_is_not_what_keeps_the_rest() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut siti, "Papan");
    world.create(&mut siti, "Baliho");
    let (tail, device) = (siti.tail.clone(), siti.device());
    device.opening(Vec::new(), "").unwrap();
    let run = device.offers()[0].run;
    tail.set_free_bytes(TAIL_RESERVE_BYTES - 1);
    let refused = Event::Rejected {
        run,
        code: "forbidden".into(),
        sentence: "No.".into(),
    };
    device.handle_event(NOW, [1; 16], &refused).unwrap();
    assert!(device.put_off().is_some());
    tail.set_free_bytes(u64::MAX);
    device.tail.settle(vec![run], Settled::Left).unwrap();
    assert_eq!((device.put_off(), device.unsent()), (None, 1));
}

#[test]
fn a_device_on_a_full_disk_opens_and_follows_and_takes_edits_once_there_is_space() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut budi = world.phone("Budi", Role::Officer, WARD);
    let own = world.create(&mut siti, "Papan");
    world.create(&mut budi, "Baliho");
    world.sync(&mut budi);
    siti.tail.set_free_bytes(TAIL_RESERVE_BYTES - 1);
    let edit = [Edit::Title("Papan baru".into())];
    let refused = siti.device().edit(NOW, &own, &edit).unwrap_err();
    assert!(refused.is_refusal());
    world.sync(&mut siti);
    let both = ["Baliho".to_owned(), "Papan".to_owned()];
    let titles = |phone: &mut Phone| phone.titles().into_iter().collect::<BTreeSet<_>>();
    assert_eq!(titles(&mut siti), BTreeSet::from(both.clone()));
    siti.reopen();
    assert_eq!(titles(&mut siti), BTreeSet::from(both));
    siti.tail.set_free_bytes(u64::MAX);
    siti.reopen();
    assert_eq!(siti.device().unsent(), 0);
    siti.device().edit(NOW, &own, &edit).unwrap().unwrap();
    world.sync(&mut siti);
    assert_eq!(siti.device().unsent(), 0);
}

#[test]
fn a_full_server_puts_a_device_off_only_once_it_has_all_that_is_there_for_it() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut budi = world.phone("Budi", Role::Officer, WARD);
    world.sync(&mut siti);
    for number in 0..40 {
        world.create(&mut budi, &format!("Baliho {number}"));
    }
    world.sync(&mut budi);
    world.create(&mut siti, "Papan");
    world.journal.set_free_bytes(1);
    let events = world.sync(&mut siti);
    assert!(matches!(events.last(), Some(Event::Bye(bye)) if bye.code == ByeCode::Full));
    assert_eq!((siti.titles().len(), siti.device().unsent()), (41, 1));
    world.journal.set_free_bytes(u64::MAX);
    world.sync(&mut siti);
    assert_eq!(siti.device().unsent(), 0);
}

#[test]
fn confirmed_runs_that_a_full_disk_keeps_are_not_sent_again() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let ids = ["Papan", "Baliho"].map(|title| world.create(&mut siti, title));
    siti.tail.set_free_bytes(TAIL_RESERVE_BYTES - 1);
    siti.device().opening(Vec::new(), "").unwrap();
    assert_eq!(siti.device().offers().len(), 2);
    // Receipts and pages take turns, as over a slow link.
    for (position, id) in (1..).zip(&ids) {
        let device = siti.device();
        let body = device.tail.of(*id).next().unwrap().body().clone();
        let run = device.tail.of(*id).next().unwrap().id();
        let own = Item::Own {
            position,
            received_at: NOW,
            run,
            document: *id,
            last_seq: body.last_seq(),
            last_hash: body.last_hash,
        };
        let page = Event::Page {
            items: vec![own],
            cursor: b"cursor".to_vec(),
        };
        for event in [Event::Accepted(vec![(run, position)]), page] {
            siti.device().handle_event(NOW, [3; 16], &event).unwrap();
        }
    }
    let device = siti.device();
    assert_eq!(device.tail.pending().len(), 2, "there is no room to say so");
    assert_eq!((device.unsent(), device.offers()), (0, Vec::new()));
    assert!(device.is_synced(2));
}

#[test]
fn confirmed_runs_leave_the_tail_once_there_is_space() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut siti, "Papan");
    siti.tail.set_free_bytes(TAIL_RESERVE_BYTES - 1);
    world.sync(&mut siti);
    for _ in 0..2 {
        siti.reopen();
        assert_eq!(siti.device().unsent(), 0);
        let events = world.sync(&mut siti);
        let receipt = |event: &Event| matches!(event, Event::Accepted(_));
        assert!(!events.iter().any(receipt), "{events:?}");
    }
    siti.tail.set_free_bytes(u64::MAX);
    world.sync(&mut siti);
    assert!(siti.device().tail.pending().is_empty());
}

#[test]
fn a_device_on_a_full_disk_begins_a_new_life_where_its_store_or_its_server_lost_something() {
    for is_server in [false, true] {
        let mut world = World::new();
        let mut siti = world.phone("Siti", Role::Officer, WARD);
        let old = world.create(&mut siti, "Papan");
        world.sync(&mut siti);
        let backup = world.journal.duplicate();
        let edit = [Edit::Title("Papan baru".into())];
        siti.device().edit(NOW, &old, &edit).unwrap();
        world.sync(&mut siti);
        siti.tail.set_free_bytes(TAIL_RESERVE_BYTES - 1);
        let before = siti.device().incarnation();
        match is_server {
            true => world.restore(backup),
            false => {
                siti.close();
                siti.open(MemoryKv::new());
            }
        }
        world.sync(&mut siti);
        assert_eq!(siti.titles(), ["Papan baru"]);
        assert_ne!(siti.device().incarnation(), before, "{is_server}");
        let changes = world.ledger.reader().document(&old).unwrap().unwrap();
        assert_eq!(changes.changes, 2, "the server has all of it again");
    }
}
