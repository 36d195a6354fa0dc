//! A disk or a store of rows that fails at any call of a server's life, and a disk that is full at
//! any moment of it.

use super::*;
use crate::kv::{KvFault, MemorySnapshot};

/// What a server does from its first start on.
#[derive(Debug, Clone, Copy)]
enum Act {
    Found,
    Enrol,
    Send(usize),
    Checkpoint,
    Reopen,
}

const ACTS: [Act; 9] = [
    Act::Found,
    Act::Enrol,
    Act::Send(0),
    Act::Checkpoint,
    Act::Send(1),
    Act::Reopen,
    Act::Send(2),
    Act::Reopen,
    Act::Send(3),
];

const SEGMENT_BYTES: u32 = 2 * 1024;

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

/// Why a life did not reach its end.
#[derive(Debug)]
enum Stopped {
    /// The ledger takes nothing more, or was not opened.
    Failed,
    /// The disk is full.
    Full,
}

struct Life {
    storage: MemoryStorage,
    kv: Arc<MemoryKv>,
    ledger: Option<MemoryLedger>,
    device: DeviceId,
    batches: Vec<Vec<CheckedRun>>,
    /// Acts that were done.
    done: usize,
    enrolled: bool,
    acknowledged: Vec<(crate::id::RunId, Position)>,
}

/// Two runs for each act that sends.
fn batches() -> (DeviceId, Vec<Vec<CheckedRun>>) {
    let mut phone = Phone::new(1);
    let mut batch = |part| {
        let (id, created) = phone.create(VILLAGE);
        let edited = phone.edit(&id, &format!("Bagian {part}. {}", "isi ".repeat(200)));
        vec![created, edited]
    };
    let batches = (0..4).map(&mut batch).collect();
    (phone.id(), batches)
}

impl Life {
    fn new((device, batches): &(DeviceId, Vec<Vec<CheckedRun>>)) -> Self {
        Self {
            storage: MemoryStorage::new(),
            kv: Arc::new(MemoryKv::new()),
            ledger: None,
            device: *device,
            batches: batches.clone(),
            done: 0,
            enrolled: false,
            acknowledged: Vec::new(),
        }
    }

    fn options() -> Options {
        let mut options = options();
        options.journal.segment_bytes = SEGMENT_BYTES;
        options.journal.reserve_bytes = 3 * u64::from(SEGMENT_BYTES);
        options.checkpoint_every = 4;
        options
    }

    /// Goes on with what was not done yet.
    fn live(&mut self) -> Result<(), Stopped> {
        while let Some(act) = ACTS.get(self.done) {
            self.perform(*act)?;
            self.done += 1;
        }
        Ok(())
    }

    fn perform(&mut self, act: Act) -> Result<(), Stopped> {
        match act {
            Act::Found => self.found(),
            Act::Reopen => {
                self.ledger = None;
                self.open()
            }
            Act::Enrol => self.enrol(),
            Act::Send(batch) => self.send(batch),
            Act::Checkpoint => match self.ledger().checkpoint(NOW) {
                Ok(_) => Ok(()),
                Err(AdminError::Full) => Err(Stopped::Full),
                Err(AdminError::Invalid(_) | AdminError::Ledger(_)) => Err(Stopped::Failed),
            },
        }
    }

    fn found(&mut self) -> Result<(), Stopped> {
        let (storage, kv) = (self.storage.clone(), self.kv.clone());
        let id = JournalId([9; 16]);
        let made = Ledger::create(storage, kv, server_key(), id, NOW, Self::options());
        self.ledger = Some(made.map_err(|error| match error {
            LedgerError::Create(CreateError::Full { .. }) => Stopped::Full,
            _ => Stopped::Failed,
        })?);
        Ok(())
    }

    fn open(&mut self) -> Result<(), Stopped> {
        let (storage, kv) = (self.storage.clone(), self.kv.clone());
        let opened = Ledger::open(storage, kv, server_key(), Self::options(), &mut |_| {});
        self.ledger = Some(opened.map_err(|_| Stopped::Failed)?.0);
        Ok(())
    }

    fn enrol(&mut self) -> Result<(), Stopped> {
        let secret = [4; 16];
        let hash = invitation_hash(&secret);
        let grants = vec![Grant {
            role: Role::Officer,
            scope: scope(VILLAGE),
        }];
        let invitation = Invitation {
            hash,
            person: "Sari".into(),
            grants,
            expires_at: NOW + 1,
        };
        let device = self.device;
        let ledger = self.ledger();
        match ledger.invite(NOW, invitation) {
            // An invitation that was cut off may have been made all the same.
            Ok(_) | Err(AdminError::Invalid(_)) => {}
            Err(AdminError::Full) => return Err(Stopped::Full),
            Err(AdminError::Ledger(_)) => return Err(Stopped::Failed),
        }
        match ledger.enrol(NOW, &secret, device) {
            Ok(_) => {
                self.enrolled = true;
                Ok(())
            }
            Err(EnrolError::Refused(EnrolRefusal::Full)) => Err(Stopped::Full),
            Err(EnrolError::Refused(other)) => panic!("{other:?}"),
            Err(EnrolError::Ledger(_)) => Err(Stopped::Failed),
        }
    }

    fn send(&mut self, batch: usize) -> Result<(), Stopped> {
        let carrier = self.device;
        let submissions = self.batches[batch].iter().map(|run| Submission {
            carrier,
            run: run.clone(),
            returned: false,
        });
        let submissions = submissions.collect();
        let outcomes = self.ledger().accept(NOW, submissions);
        let outcomes = outcomes.map_err(|_| Stopped::Failed)?;
        let mut full = false;
        for Outcome { run, verdict } in outcomes {
            match verdict {
                Verdict::Accepted(position) => self.acknowledged.push((run, position)),
                Verdict::Full => full = true,
                other => panic!("{other:?}"),
            }
        }
        if full { Err(Stopped::Full) } else { Ok(()) }
    }

    fn ledger(&mut self) -> &mut MemoryLedger {
        self.ledger.as_mut().expect("it was founded or opened")
    }

    /// The process starts anew, whatever became of it.
    fn start(&mut self) {
        self.ledger = None;
        match self.open() {
            Ok(()) => {
                // Founding may have been done although it said otherwise.
                self.done = self.done.max(1);
            }
            Err(_) if self.done == 0 => {}
            Err(error) => panic!("not opened again: {error:?}"),
        }
    }

    fn nothing_acknowledged_is_missing(&self) {
        let Some(ledger) = &self.ledger else {
            assert_eq!(self.done, 0);
            return;
        };
        let reader = ledger.reader();
        for (run, position) in &self.acknowledged {
            assert_eq!(reader.position_of(run).unwrap(), Some(*position));
        }
        let device = reader.device(&self.device).unwrap();
        assert!(device.is_some() || !self.enrolled);
    }

    fn everything_is_there(&self) {
        assert_eq!((self.done, self.enrolled), (ACTS.len(), true));
        self.nothing_acknowledged_is_missing();
        assert!(self.acknowledged.len() >= 8);
        let reader = self.ledger.as_ref().unwrap().reader();
        let verification = verify(&reader, &mut |_| {}).unwrap();
        assert!(verification.is_clean(), "{verification:?}");
        assert_eq!(all_rows(&self.kv), rebuilt_rows(&self.storage));
    }
}

/// Lets call number `call` fail, ends the process, starts it again and lets it do the rest. False
/// once no call failed: whatever fails ends the process.
fn fails_and_goes_on(
    mut life: Life,
    call: u64,
    fault: DiskFault,
    end: End,
    rows_stay: bool,
) -> bool {
    life.storage.fail_at(call, fault);
    let lived = life.live();
    assert_eq!(
        lived.is_ok(),
        life.storage.is_to_fail(),
        "call {call}: {lived:?}"
    );
    if lived.is_ok() {
        return false;
    }
    let ended = life.ledger.take();
    assert!(ended.is_none_or(|ledger| ledger.has_failed()));
    match end {
        End::Process => {}
        End::PowerKeepsNothing => life.storage.crash(&mut |_| 0),
        End::PowerKeepsAll => life.storage.crash(&mut |_| 1),
    }
    if !rows_stay {
        life.kv.restore(&MemorySnapshot::default());
    }
    life.storage.fail_at(u64::MAX / 2, fault);
    life.start();
    life.nothing_acknowledged_is_missing();
    // From here on what was opened counts, and may be lost no more than what is written next.
    life.live().unwrap();
    life.ledger = None;
    life.storage.crash(&mut |_| 0);
    life.start();
    life.everything_is_there();
    true
}

#[test]
fn whichever_call_to_the_disk_fails_nothing_acknowledged_is_lost_and_the_server_goes_on() {
    let batches = batches();
    for end in [End::Process, End::PowerKeepsNothing, End::PowerKeepsAll] {
        let mut call = 1;
        // Ways to fail, and rows that stay or vanish, take turns.
        while fails_and_goes_on(
            Life::new(&batches),
            call,
            [DiskFault::Io, DiskFault::Full][(call + end as u64) as usize % 2],
            end,
            (call / 2 + end as u64).is_multiple_of(2),
        ) {
            call += 1;
        }
        assert!(call > 60, "only {call} calls were tried");
    }
}

/// What the next process finds of rows whose store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// All but the batch whose writing failed.
    WithoutBatch,
    /// That batch, too.
    WithBatch,
    /// An empty store: a damaged one is moved aside.
    Gone,
}

/// The same for a call to the store of derived rows.
fn rows_fail_and_the_server_goes_on(
    batches: &(DeviceId, Vec<Vec<CheckedRun>>),
    call: u64,
    fault: KvFault,
    left: Rows,
) -> bool {
    let mut life = Life::new(batches);
    life.kv.fail_at(call, fault);
    let lived = life.live();
    assert_eq!(lived.is_err(), life.kv.has_failed(), "{lived:?}");
    if lived.is_ok() {
        return false;
    }
    if let Some(ledger) = &mut life.ledger {
        assert!(ledger.has_failed());
        let carrier = life.device;
        let run = life.batches[0][0].clone();
        let returned = false;
        let again = ledger.accept(
            NOW,
            vec![Submission {
                carrier,
                run,
                returned,
            }],
        );
        again.unwrap_err();
    }
    life.ledger = None;
    life.kv.open_anew(left == Rows::WithBatch);
    match left {
        Rows::WithoutBatch | Rows::WithBatch => {}
        Rows::Gone => life.kv.restore(&MemorySnapshot::default()),
    }
    life.start();
    life.nothing_acknowledged_is_missing();
    life.live().unwrap();
    life.ledger = None;
    life.storage.crash(&mut |_| 0);
    life.start();
    life.everything_is_there();
    true
}

#[test]
fn whichever_call_to_the_rows_fails_nothing_acknowledged_is_lost_and_the_server_goes_on() {
    let batches = batches();
    for (left, fault) in [
        (Rows::WithoutBatch, KvFault::Io),
        (Rows::WithBatch, KvFault::Io),
        (Rows::Gone, KvFault::Damaged),
    ] {
        let mut call = 1;
        while rows_fail_and_the_server_goes_on(&batches, call, fault, left) {
            call += 1;
        }
        assert!(call > 80, "only {call} calls were tried");
    }
}

#[test]
fn whichever_call_to_the_rows_fails_while_they_are_made_anew_the_next_opening_makes_them() {
    let batches = batches();
    let mut life = Life::new(&batches);
    life.live().unwrap();
    let acknowledged = life.acknowledged.clone();
    let open = |kv: &Arc<MemoryKv>, storage: &MemoryStorage| {
        let (storage, kv) = (storage.duplicate(), kv.clone());
        Ledger::open(storage, kv, server_key(), Life::options(), &mut |_| {})
    };
    for with_batch in [false, true] {
        let mut call = 1;
        loop {
            let kv = Arc::new(MemoryKv::new());
            kv.fail_at(call, KvFault::Io);
            let failed = open(&kv, &life.storage).is_err();
            assert_eq!(failed, kv.has_failed());
            kv.open_anew(with_batch);
            let (ledger, _) = open(&kv, &life.storage).unwrap();
            for (run, position) in &acknowledged {
                assert_eq!(ledger.reader().position_of(run).unwrap(), Some(*position));
            }
            assert_eq!(all_rows(&kv), rebuilt_rows(&life.storage));
            if !failed {
                break;
            }
            call += 1;
        }
        assert!(call > 40, "only {call} calls were tried");
    }
}

#[test]
fn a_disk_that_is_full_at_any_moment_is_answered_so_and_used_again_once_there_is_space() {
    let batches = batches();
    let mut episodes = 0;
    let mut free = 0;
    loop {
        let mut life = Life::new(&batches);
        life.storage.set_free_bytes(free);
        let was_full = match life.live() {
            Ok(()) => false,
            Err(Stopped::Full) => true,
            // A server can be opened only with room for one more segment.
            Err(Stopped::Failed) => {
                assert!(matches!(ACTS[life.done], Act::Reopen));
                true
            }
        };
        if let Some(ledger) = &life.ledger {
            for (run, position) in &life.acknowledged {
                assert_eq!(ledger.reader().position_of(run).unwrap(), Some(*position));
            }
        }
        life.storage.set_free_bytes(1024 * 1024);
        life.live().unwrap();
        life.everything_is_there();
        if !was_full {
            break;
        }
        episodes += 1;
        free += u64::from(SEGMENT_BYTES) / 2;
    }
    assert!(episodes > 8, "{episodes}");
}

fn ended<T: std::fmt::Debug>(answer: Result<T, AdminError>) -> LedgerError {
    match answer {
        Err(AdminError::Ledger(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Journal and store work again. The rows lack what the journal got, or what the journal got is
/// unknown.
#[test]
fn a_ledger_that_failed_once_does_nothing_more() {
    does_nothing_after(|_, kv| kv.fail_at(1, KvFault::Io));
    // Calls of an append: free space, write, sync.
    for call in 1..=3 {
        does_nothing_after(|storage, _| storage.fail_at(call, DiskFault::Io));
    }
}

fn does_nothing_after(fail: impl Fn(&MemoryStorage, &MemoryKv)) {
    let (mut ledger, storage, kv, mut phone, other) = with_officers();
    let (_, run) = phone.create(VILLAGE);
    let (id, secret) = (phone.id(), [4; 16]);
    let invitation = Invitation {
        hash: invitation_hash(&secret),
        person: "Sari".into(),
        grants: vec![Grant {
            role: Role::Officer,
            scope: scope(VILLAGE),
        }],
        expires_at: NOW + 1,
    };
    ledger.invite(NOW, invitation.clone()).unwrap();
    fail(&storage, &kv);
    ended(ledger.checkpoint(NOW));
    assert!(ledger.has_failed());
    kv.open_anew(false);
    let head = ledger.journal.head();

    let (name, framework) = crate::framework::built_in()[0];
    let regions = crate::region::example_csv();
    let regions = crate::region::RegionImport::from_csv("regions.csv", regions, "2024").unwrap();
    let submission = Submission {
        carrier: id,
        run,
        returned: false,
    };
    let enrolled = match ledger.enrol(NOW, &secret, Phone::new(3).id()) {
        Err(EnrolError::Ledger(error)) => error,
        other => panic!("{other:?}"),
    };
    let answers = [
        enrolled,
        ledger.accept(NOW, vec![submission]).unwrap_err(),
        ledger.find(NOW, a_finding()).unwrap_err(),
        ledger.take_back(NOW, id, Vec::new()).unwrap_err(),
        ledger.readmit(NOW, id, &[]).unwrap_err(),
        ended(ledger.invite(NOW, invitation)),
        ended(ledger.grant(NOW, id, Vec::new())),
        ended(ledger.revoke(NOW, other.id())),
        ended(ledger.confirm(NOW, id)),
        ended(ledger.record_restore(NOW)),
        ended(ledger.import_framework(NOW, name, framework.to_vec())),
        ended(ledger.import_regions(NOW, regions)),
        ended(ledger.checkpoint(NOW)),
        ended(ledger.record_finding(NOW, a_finding())),
        ended(ledger.acknowledge(NOW, 1, "Sudah dilihat.")),
        ended(ledger.move_unit(NOW, &scope(VILLAGE), &scope("13.76.02"))),
    ];
    for answer in answers {
        let is_end = matches!(answer, LedgerError::Failed { source: None, .. });
        assert!(is_end, "{answer:?}");
    }
    assert_eq!(ledger.journal.head(), head);
}

#[test]
fn readers_see_nothing_of_records_whose_rows_were_not_written() {
    let mut call = 1;
    loop {
        let (mut ledger, _, kv, mut phone, _) = with_officers();
        let (_, run) = phone.create(VILLAGE);
        let reader = ledger.reader();
        let before = reader.watermark();
        kv.fail_at(call, KvFault::Io);
        let submission = Submission {
            carrier: phone.id(),
            run: run.clone(),
            returned: false,
        };
        let accepted = ledger.accept(NOW, vec![submission]);
        assert_eq!(accepted.is_err(), kv.has_failed(), "call {call}");
        kv.open_anew(false);
        if accepted.is_ok() {
            assert_eq!(reader.watermark().position, before.position + 1);
            break;
        }
        assert_eq!(reader.watermark(), before, "call {call}");
        assert_eq!(reader.position_of(&run.id()).unwrap(), None);
        call += 1;
    }
    assert!(call > 8, "only {call} calls were tried");
}
