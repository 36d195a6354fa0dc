//! What becomes of everything that everybody pushes, at every moment.

use std::net::SocketAddr;

use bukti_core::envelope::DocumentKind;
use bukti_core::evidence::{self, Declared, Edit};
use bukti_core::evidence::{FileEntry, Origin};
use bukti_core::id::{DeviceId, FileHash, Position, RunId};
use bukti_hostile::pen::{Pen, Sealed};
use bukti_sync_protocol::client::{Event, Input};
use bukti_tests::wire::{Answers, Enrolled, Line, push};
use ed25519_dalek::SigningKey;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::table::{Act, Grants, KINDS, Person, Standing, places, writes};
use super::{called, command, enrol, giving, id_of, invitations, key, moving, regrant, revoking};
use crate::field::Field;

/// What happens, in this order. At each moment everybody pushes everything there is to try; all of
/// it was sealed before the moment began.
const MOMENTS: [Moment; 13] = [
    Moment::of("before any grant", Standing::Before, By::ALONE),
    Moment::of("granted in the session", Standing::Granted, By::OPEN),
    Moment::of("narrowed in the session", Standing::Narrowed, By::OPEN),
    Moment::of("added while away", Standing::Added, By::ALONE),
    Moment::of("removed in the session", Standing::Removed, By::OPEN),
    Moment::of("granted while away", Standing::Granted, By::ALONE),
    Moment::of(
        "sealed, then removed while away",
        Standing::Removed,
        By::ALONE,
    ),
    Moment {
        away: true,
        moves: true,
        ..Moment::of("units moved in the session", Standing::Granted, By::OPEN)
    },
    Moment {
        moves: true,
        ..Moment::of("units moved back while away", Standing::Granted, By::ALONE)
    },
    Moment::of(
        "carried by one who may nothing",
        Standing::Granted,
        By::Carrier(Carrier::Poor),
    ),
    Moment::of(
        "removed, and carried by one who may everything",
        Standing::Removed,
        By::Carrier(Carrier::Rich),
    ),
    Moment::of("demoted in the session", Standing::Demoted, By::OPEN),
    Moment {
        revoked: true,
        ..Moment::of(
            "revoked, and carried by one who may everything",
            Standing::Demoted,
            By::Carrier(Carrier::Rich),
        )
    },
];

/// Everybody, at every moment, every act on every kind in every place, and an unclassified
/// document in each.
const CELLS: usize = (1 + 6 * 10) * 13 * 12 * (3 * 6 + 1);

/// Devices that push at once: a machine that is shared is to answer each in time.
const PUSHING_AT_ONCE: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Moment {
    name: &'static str,
    standing: Standing,
    by: By,
    away: bool,
    moves: bool,
    revoked: bool,
}

/// By whose session runs come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Their author's: open while things happen, or opened afterwards with the runs in its first
    /// flight.
    Author { open: bool },
    /// Another device's.
    Carrier(Carrier),
}

impl By {
    const ALONE: Self = Self::Author { open: false };
    const OPEN: Self = Self::Author { open: true };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    /// Is granted nothing.
    Poor,
    /// Has every role on everything.
    Rich,
}

impl Moment {
    const fn of(name: &'static str, standing: Standing, by: By) -> Self {
        Self {
            name,
            standing,
            by,
            away: false,
            moves: false,
            revoked: false,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_anybody_pushes_is_accepted_or_refused_as_the_table_says() {
    let field = super::programme();
    let targets = targets(&field).await;
    let poor = Courier::enrol(&field, 5_001, &[]).await;
    let rich = Courier::enrol(&field, 5_002, &super::table::ROLES).await;
    let mut writers = enrolled(&field, &targets).await;
    let mut cells = 0;
    for moment in MOMENTS {
        if moment.by == By::OPEN {
            for writer in &mut writers {
                writer.open(field.address()).await;
            }
        }
        change(&field, &mut writers, &moment);
        if moment.revoked {
            for writer in &mut writers {
                writer.expect_to_be_refused(field.address()).await;
            }
        }
        match moment.by {
            By::Author { .. } => writers = pushed(field.address(), writers).await,
            By::Carrier(carrier) => {
                let courier = match carrier {
                    Carrier::Poor => &poor,
                    Carrier::Rich => &rich,
                };
                for writer in &mut writers {
                    writer.answers = courier.carry(field.address(), writer.runs()).await;
                }
            }
        }
        for writer in &mut writers {
            cells += writer.check(&moment);
            writer.seal_again(&targets);
        }
    }
    println!("{cells} cells of writing");
    assert_eq!(cells, CELLS);
    field.verify();
}

/// Does what happens at a moment.
fn change(field: &Field, writers: &mut [Writer], moment: &Moment) {
    let mut commands: Vec<Vec<Vec<String>>> = Vec::new();
    for writer in writers {
        let grants = writer.person.grants(moment.standing);
        commands.push(match moment.revoked {
            true => vec![revoking(writer.id())],
            false => regrant(writer.id(), &writer.grants, &grants),
        });
        writer.grants = grants;
    }
    let rounds = commands.iter().map(Vec::len).max().unwrap_or_default();
    for round in 0..rounds {
        let due: Vec<_> = commands
            .iter()
            .filter_map(|own| own.get(round).cloned())
            .collect();
        command(field, &due);
    }
    if moment.moves {
        command(field, &moving(moment.away));
    }
}

/// Has everybody push what it sealed, several at once.
async fn pushed(server: SocketAddr, writers: Vec<Writer>) -> Vec<Writer> {
    let mut pushing = JoinSet::new();
    let turns = std::sync::Arc::new(Semaphore::new(PUSHING_AT_ONCE));
    for (index, mut writer) in writers.into_iter().enumerate() {
        let turns = std::sync::Arc::clone(&turns);
        pushing.spawn(async move {
            let _turn = turns.acquire_owned().await.unwrap();
            writer.push(server).await;
            (index, writer)
        });
    }
    let mut writers: Vec<(usize, Writer)> = pushing.join_all().await;
    writers.sort_by_key(|(index, _)| *index);
    writers.into_iter().map(|(_, writer)| writer).collect()
}

/// A document of every kind in every place, for everybody to work on.
async fn targets(field: &Field) -> Vec<(DocumentKind, &'static str, Pen)> {
    let key = key(5_000);
    let enrolled = super::author(field, &key).await;
    let mut targets = Vec::new();
    let mut runs = Vec::new();
    for place in places() {
        for kind in KINDS {
            let number = targets.len() as u16 + 1;
            let mut pen = Pen::begin_kind(kind, &key, place, number, number);
            runs.push(pen.seal());
            targets.push((kind, place, pen));
        }
    }
    let answers = push(field.address(), giving(&key, &enrolled, None), runs).await;
    assert_eq!(answers.accepted.len(), targets.len(), "{answers:?}");
    targets
}

/// Enrols everybody.
async fn enrolled(field: &Field, targets: &[(DocumentKind, &'static str, Pen)]) -> Vec<Writer> {
    let people = Person::everybody();
    let asked = people.iter();
    let asked = asked.flat_map(|person| person.grants(Standing::Before));
    let links = invitations(field, &asked.collect());
    let mut writers = Vec::new();
    for (number, (person, link)) in people.into_iter().zip(links).enumerate() {
        let key = key(number);
        let enrolled = enrol(field, &key, &link).await;
        writers.push(Writer::new(person, key, enrolled, targets));
    }
    writers
}

/// A device that only brings what others wrote.
struct Courier {
    key: SigningKey,
    enrolled: Enrolled,
}

impl Courier {
    async fn enrol(field: &Field, number: usize, roles: &[&'static str]) -> Self {
        let key = key(number);
        let link = field.invite("observer", super::table::ELSEWHERE, "courier");
        let enrolled = enrol(field, &key, &link.parse().unwrap()).await;
        let before: Grants = vec![("observer", super::table::ELSEWHERE)];
        let after = roles.iter().map(|role| (*role, "all")).collect();
        for granted in regrant(id_of(&key), &before, &after) {
            command(field, &[granted]);
        }
        Self { key, enrolled }
    }

    async fn carry(&self, server: SocketAddr, runs: Vec<Sealed>) -> Answers {
        push(server, giving(&self.key, &self.enrolled, None), runs).await
    }
}

/// A device that tries everything.
struct Writer {
    person: Person,
    key: SigningKey,
    enrolled: Enrolled,
    token: Option<Vec<u8>>,
    line: Option<Line>,
    grants: Grants,
    attempts: Vec<Attempt>,
    answers: Answers,
    /// The last run that was accepted.
    known: Option<(Sealed, Position)>,
    /// How many lives it has begun: each run has one of its own, so that none depends on another.
    lives: u16,
}

/// One thing that it tries, under a seal.
struct Attempt {
    kind: DocumentKind,
    place: &'static str,
    act: Act,
    sealed: Sealed,
}

impl Writer {
    fn new(
        person: Person,
        key: SigningKey,
        enrolled: Enrolled,
        targets: &[(DocumentKind, &'static str, Pen)],
    ) -> Self {
        let mut writer = Self {
            person,
            key,
            enrolled,
            token: None,
            line: None,
            grants: person.grants(Standing::Before),
            attempts: Vec::new(),
            answers: Answers::default(),
            known: None,
            lives: 0,
        };
        let classified = KINDS.into_iter().flat_map(|kind| {
            let acts = Act::ALL.into_iter();
            acts.map(move |act| (kind, act))
        });
        let unclassified = (DocumentKind::Unclassified, Act::Create);
        for (kind, act) in classified.chain([unclassified]) {
            for place in places() {
                let sealed = writer.seal(targets, kind, place, act);
                writer.attempts.push(Attempt {
                    kind,
                    place,
                    act,
                    sealed,
                });
            }
        }
        writer
    }

    fn id(&self) -> DeviceId {
        id_of(&self.key)
    }

    fn runs(&self) -> Vec<Sealed> {
        let known = self.known.iter().map(|(sealed, _)| sealed.clone());
        let attempts = self.attempts.iter().map(|attempt| attempt.sealed.clone());
        attempts.chain(known).collect()
    }

    fn seal(
        &mut self,
        targets: &[(DocumentKind, &'static str, Pen)],
        kind: DocumentKind,
        place: &'static str,
        act: Act,
    ) -> Sealed {
        self.lives += 1;
        let begins = || Pen::begin_kind(kind, &self.key, place, self.lives, self.lives);
        let goes_on = || {
            let mut targets = targets.iter();
            let target = targets.find(|target| (target.0, target.1) == (kind, place));
            target.unwrap().2.beside(&self.key, self.lives)
        };
        let (mut pen, edit) = match act {
            Act::Create => (begins(), None),
            Act::Publish => (begins(), Some(Edit::Declare(Declared::Ready))),
            Act::Edit => (goes_on(), Some(Edit::Title("Jembatan gantung".into()))),
            Act::Attach => (goes_on(), Some(Edit::AddFile(photo()))),
            Act::Ready => (goes_on(), Some(Edit::Declare(Declared::Ready))),
            Act::Withdraw => {
                let reason = "Salah unggah.".into();
                (goes_on(), Some(Edit::Withdraw { reason }))
            }
        };
        if let Some(edit) = edit {
            let actor = pen.actor();
            let made = evidence::edit(&mut pen.automerge, actor, 0, &[edit]);
            made.unwrap().expect("it changes something");
        }
        let changes = pen.unsealed();
        pen.seal_as(changes, |body| {
            body.publish = matches!(act, Act::Publish | Act::Ready);
        })
    }

    /// What was accepted is not tried again: another like it is.
    fn seal_again(&mut self, targets: &[(DocumentKind, &'static str, Pen)]) {
        for index in 0..self.attempts.len() {
            let Attempt {
                kind, place, act, ..
            } = self.attempts[index];
            let run = self.attempts[index].sealed.0;
            if let Some(position) = self.answers.accepted.get(&run).copied() {
                let next = self.seal(targets, kind, place, act);
                let sealed = std::mem::replace(&mut self.attempts[index].sealed, next);
                self.known = Some((sealed, position));
            }
        }
        self.answers = Answers::default();
    }

    async fn open(&mut self, server: SocketAddr) {
        let opening = giving(&self.key, &self.enrolled, self.token.clone());
        let mut line = Line::open(server, opening, Vec::new()).await;
        while let Some(event) = line.next().await {
            match event {
                Event::Welcome { token, .. } => self.token = Some(token),
                Event::UpToDate { .. } => {
                    line.give(Input::Applied).await;
                    break;
                }
                Event::Page { .. } => line.give(Input::Applied).await,
                other => panic!("{}: {other:?}", self.person.name()),
            }
        }
        self.line = Some(line);
    }

    /// Pushes everything in its session, or in the first flight of a new one.
    async fn push(&mut self, server: SocketAddr) {
        let runs = self.runs();
        let wanted = runs.len();
        let offers = runs.into_iter().map(Into::into).collect();
        let mut line = match self.line.take() {
            Some(mut line) => {
                line.give(Input::Offer(offers)).await;
                line
            }
            None => {
                let opening = giving(&self.key, &self.enrolled, self.token.clone());
                Line::open(server, opening, offers).await
            }
        };
        while self.answers.count() < wanted {
            let event = line.next().await;
            let event = event.unwrap_or_else(|| panic!("{} was left", self.person.name()));
            if let Event::Welcome { token, .. } = &event {
                self.token = Some(token.clone());
            }
            if self.answers.take(event) {
                line.give(Input::Applied).await;
            }
        }
    }

    /// Pushes in a session of its own, which is none any more.
    async fn expect_to_be_refused(&mut self, server: SocketAddr) {
        let opening = giving(&self.key, &self.enrolled, self.token.clone());
        let answers = push(server, opening, self.runs()).await;
        assert_eq!(answers.count(), 0, "{}", self.person.name());
        let revoked = answers.bye.as_ref();
        let revoked = revoked.is_some_and(|bye| bye.revokes(&self.id(), &self.enrolled.server));
        assert!(revoked, "{}: {:?}", self.person.name(), answers.bye);
    }

    /// Compares the answers with the table; gives the number of attempts.
    fn check(&self, moment: &Moment) -> usize {
        for attempt in &self.attempts {
            let Attempt {
                kind, place, act, ..
            } = *attempt;
            let refused = match kind {
                _ if moment.revoked => Some("revoked"),
                // Devices give every document a kind.
                DocumentKind::Unclassified => Some("unsupported"),
                DocumentKind::Evidence | DocumentKind::Statement | DocumentKind::Reference => {
                    let may = writes(&self.grants, kind, act, place, moment.away);
                    (!may).then_some("forbidden")
                }
            };
            let (said, sentence) = self.said(&attempt.sealed.0);
            let what = called(kind, &format!("{act:?}"), place);
            assert_eq!(
                said,
                refused.unwrap_or("accepted"),
                "{what} by {} when {}: {sentence}",
                self.person.name(),
                moment.name,
            );
        }
        // What was received before stays, whatever became of its author.
        if let Some(((run, _), position)) = &self.known {
            assert_eq!(self.answers.accepted.get(run), Some(position));
        }
        self.attempts.len()
    }

    fn said(&self, run: &RunId) -> (&str, &str) {
        if self.answers.accepted.contains_key(run) {
            return ("accepted", "");
        }
        if self.answers.missing.contains_key(run) {
            return ("missing", "");
        }
        let rejected = self.answers.rejected.get(run);
        rejected.map_or(("nothing", ""), |(code, sentence)| (code, sentence))
    }
}

fn photo() -> FileEntry {
    FileEntry {
        hash: FileHash([7; 32]),
        media_type: "image/jpeg".into(),
        bytes: 300_000,
        name: "jembatan.jpg".into(),
        origin: Origin::Original,
        part: None,
        rows: std::collections::BTreeSet::new(),
    }
}
