//! `bukti sync`: exchanges everything new with the server, once.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use bukti_client::device::{PutOff, Status, Tally};
use bukti_client::driver::{self, Progress, Settings, SyncError, Synced, Traffic};
use bukti_client::limits::SYNC_ATTEMPTS_MAX;
use bukti_command::show::{count, plain, show_bytes};
use bukti_command::{Exit, Reply};
use bukti_core::causes::{WHERE_FULL, with_causes};
use bukti_core::envelope::{Envelope, Run};
use bukti_core::id::{DeviceId, RunId};
use bukti_sync_protocol::client::Event;
use bukti_sync_protocol::item::Item;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::desk::FieldDevice;
use super::failure::{Failure, going_on};
use super::folder;
use super::line;
use super::status::{AWAITS_CONFIRMATION, not_taken_back};

/// How often the bar turns while nothing comes.
const BAR_TICK: Duration = Duration::from_millis(120);

/// Why runs are unsent behind a sync that ended well.
const LACKS_EARLIER: &str = "the server lacks earlier edits that these build on, perhaps since it \
                             was restored from a backup; everything entered is kept";

/// The same where all of them are of a copied or restored folder.
const NOT_ENTERED_AGAIN: &str = "edits of this copied or restored folder are entered again once \
                                 all that the server holds for this device came here; everything \
                                 entered is kept";

/// The same where the disk has no room for them.
const NO_ROOM_TO_ENTER: &str = "edits of this copied or restored folder could not be entered again";

/// What was damaged on the device is no matter of the server's, and stays until somebody looks.
const MAY_BE_LOST: &str = "Something in this device's folder was cut off or damaged, and work that was \
                           kept in it may be lost: 'bukti status' says what and names the files.\n";

/// What a sync did and what it left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    /// Runs entered here that the server has on its disk since.
    pub(super) sent: u64,
    /// Runs that the server had lost and took back.
    pub(super) gave_back: u64,
    /// Runs and whole documents of others.
    pub(super) received: u64,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    pub(super) frames_up: u64,
    pub(super) frames_down: u64,
    /// Documents that are no longer this device's to read since they were moved.
    pub(super) moved_away: u64,
    /// The same since its grants do not reach them any more.
    pub(super) not_granted: u64,
    /// Connections that stood.
    pub(super) connections: u32,
    pub(super) reconnects: u32,
    /// Whether everything in scope was here at the end, and the server held what this device does.
    /// Never while `awaits_confirmation`.
    pub(super) up_to_date: bool,
    /// Runs that no server has confirmed.
    pub(super) unsent: usize,
    /// Refused runs that nobody dealt with.
    pub(super) quarantined: usize,
    /// Whether the server only takes until an administrator confirms this device.
    pub(super) awaits_confirmation: bool,
    /// Documents that the server may have lost and was not yet given back.
    pub(super) to_give_back: usize,
    /// Confirmed runs that a server which lost them did not take back.
    pub(super) not_taken_back: usize,
    /// Scopes of which the server holds something else.
    pub(super) differs: Vec<String>,
    /// Things that should not be.
    pub(super) findings: usize,
    /// Files with what was cut or damaged here and may be nowhere else.
    pub(super) may_be_lost: usize,
    #[serde(skip)]
    pub(super) sightings: Sightings,
}

/// The server tells of an own run twice, by a receipt and in the feed, in either order; it counts
/// as sent once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sightings {
    /// Whose runs are own ones.
    own: Option<DeviceId>,
    /// By a receipt; the feed is to name them.
    accepted: BTreeSet<RunId>,
    /// In the feed of this connection; the receipt may follow.
    named: BTreeSet<RunId>,
    /// The same of those that it brought whole, as it does of a life of the store that is not the one
    /// of its greeting. Most of them were sent long ago, so that none counts before its receipt.
    brought: BTreeSet<RunId>,
}

impl Sightings {
    /// Whether the feed and receipts told the same so far.
    #[cfg(test)]
    pub(super) fn agree(&self) -> bool {
        self.accepted.is_empty() && self.named.is_empty() && self.brought.is_empty()
    }

    /// Whether a run that the feed brings whole is an own one.
    fn bring(&mut self, envelope: Option<&Envelope>) -> bool {
        let own = envelope.filter(|envelope| Some(envelope.body().device) == self.own);
        if let Some(run) = own.map(Envelope::run)
            && !self.accepted.remove(&run)
        {
            self.brought.insert(run);
        }
        own.is_some()
    }
}

impl Summary {
    /// Starts a count on a device that may know of receipts already.
    pub(super) fn starting_from(device: &FieldDevice) -> Self {
        Self {
            sightings: Sightings {
                own: Some(device.id()),
                accepted: device.accepted_runs().collect(),
                ..Sightings::default()
            },
            ..Self::default()
        }
    }

    /// Counts what the driver tells.
    pub(super) fn note(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::Connected => {
                self.sightings.named.clear();
                self.sightings.brought.clear();
            }
            Progress::Traffic {
                traffic, unsent, ..
            } => {
                self.carry(*traffic);
                self.unsent = *unsent;
            }
            Progress::Learned(event, tally) => {
                self.learn(event);
                self.count(*tally);
            }
            Progress::Connecting { .. } | Progress::Cut { .. } => {}
        }
    }

    /// A run that was given back is answered like one that was sent, and is told apart.
    fn count(&mut self, tally: Tally) {
        let given = tally.gave_back.saturating_sub(self.gave_back);
        self.sent = self.sent.saturating_sub(given);
        self.gave_back = tally.gave_back;
        self.moved_away = tally.moved_away;
        self.not_granted = tally.not_granted;
    }

    fn learn(&mut self, event: &Event) {
        match event {
            Event::Accepted(runs) => {
                let sightings = &mut self.sightings;
                for (run, _position) in runs {
                    let is_news = sightings.brought.remove(run)
                        || (!sightings.named.remove(run) && sightings.accepted.insert(*run));
                    self.sent += u64::from(is_news);
                }
            }
            Event::Page { items, .. } => items.iter().for_each(|item| self.arrive(item)),
            Event::Welcome { .. }
            | Event::Void
            | Event::StatementsHeld(_)
            | Event::Readmitted { .. }
            | Event::Differs { .. }
            | Event::Missing { .. }
            | Event::Rejected { .. }
            | Event::Stale { .. }
            | Event::UpToDate { .. }
            | Event::LeftScope(_)
            | Event::Progress { .. }
            | Event::Bye(_) => {}
        }
    }

    fn arrive(&mut self, item: &Item) {
        match item {
            Item::Record { run, .. } => {
                let run = Run::open_stored(run).ok();
                let is_own = self.sightings.bring(run.as_ref().map(|run| &run.envelope));
                self.received += u64::from(!is_own);
            }
            Item::Whole { envelopes, .. } => {
                for envelope in envelopes {
                    let envelope = Envelope::open_stored(&envelope.bytes).ok();
                    self.sightings.bring(envelope.as_ref());
                }
                self.received += 1;
            }
            Item::Own { run, .. } => {
                if !self.sightings.accepted.remove(run) && self.sightings.named.insert(*run) {
                    self.sent += 1;
                }
            }
            Item::Fact { .. } => {}
        }
    }

    fn carry(&mut self, traffic: Traffic) {
        self.bytes_up = traffic.bytes_sent;
        self.bytes_down = traffic.bytes_received;
        self.frames_up = traffic.frames_sent;
        self.frames_down = traffic.frames_received;
        self.connections = traffic.connections;
        self.reconnects = traffic.connections.saturating_sub(1);
    }

    /// What it took since an earlier moment.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            sent: self.sent.saturating_sub(before.sent),
            gave_back: self.gave_back - before.gave_back,
            moved_away: self.moved_away - before.moved_away,
            not_granted: self.not_granted - before.not_granted,
            received: self.received - before.received,
            bytes_up: self.bytes_up - before.bytes_up,
            bytes_down: self.bytes_down - before.bytes_down,
            frames_up: self.frames_up - before.frames_up,
            frames_down: self.frames_down - before.frames_down,
            connections: self.connections - before.connections,
            reconnects: self.reconnects - before.reconnects,
            ..self.clone()
        }
    }

    pub(super) fn reply(&self, json: bool) -> Reply {
        match json {
            true => Reply::json(self),
            false => Reply::done(self.text()),
        }
    }

    fn text(&self) -> String {
        let mut waits = match (self.unsent, self.quarantined) {
            (0, 0) if self.to_give_back > 0 => String::new(),
            (0, 0) if self.may_be_lost > 0 => "Nothing that can be read waits.".to_owned(),
            (0, 0) if self.not_taken_back > 0 => "Nothing waits that the server takes.".to_owned(),
            (0, 0) => "Nothing waits.".to_owned(),
            (unsent, 0) => format!("{} still to send.", count(unsent, "run")),
            (0, refused) => format!(
                "{} refused: see 'bukti quarantine list'.",
                count(refused, "run")
            ),
            (unsent, refused) => format!(
                "{} still to send, {refused} refused: see 'bukti quarantine list'.",
                count(unsent, "run")
            ),
        };
        if self.to_give_back > 0 {
            let space = if waits.is_empty() { "" } else { " " };
            let documents = count(self.to_give_back, "document");
            waits += &format!("{space}{documents} to be given back.");
        }
        let state = if self.awaits_confirmation {
            "Not confirmed"
        } else if self.up_to_date {
            "Up to date"
        } else {
            "Not up to date"
        };
        let gave_back = match self.gave_back {
            0 => String::new(),
            runs => format!(", gave back {runs}"),
        };
        format!(
            "{state}: sent {}{gave_back}, received {}. {waits}\n\
             {} up, {} down in {} frames, {}, {}.\n",
            self.sent,
            self.received,
            show_bytes(self.bytes_up),
            show_bytes(self.bytes_down),
            self.frames_up + self.frames_down,
            count(self.connections as usize, "connection"),
            count(self.reconnects as usize, "reconnect")
        ) + &self.left_text()
            + &match self.awaits_confirmation {
                true => format!("{AWAITS_CONFIRMATION}\n"),
                false => String::new(),
            }
            + &self.lacking_text()
            + match self.may_be_lost {
                0 => "",
                _ => MAY_BE_LOST,
            }
    }

    /// What the server does not hold, or holds otherwise.
    fn lacking_text(&self) -> String {
        let mut text = String::new();
        if self.not_taken_back > 0 {
            text += &format!("{}\n", not_taken_back(self.not_taken_back));
        }
        // What a device that is not confirmed sent does not come back to it, and differs for that.
        if !self.differs.is_empty() && !self.awaits_confirmation {
            text += &format!(
                "The server holds something else of {} than this device: ask its administrator if \
                 the next sync does not help.\n",
                self.differs.join(", ")
            );
        }
        text
    }

    /// Whether a device that heard everything is up to date by what it and the server hold.
    pub(super) fn is_settled(&self) -> bool {
        self.unsent == 0
            && !self.awaits_confirmation
            && self.to_give_back == 0
            && self.not_taken_back == 0
            && self.differs.is_empty()
    }

    /// How the device stands behind all that was done.
    pub(super) fn stand(&mut self, status: &Status) {
        (self.unsent, self.quarantined) = (status.unsent, status.quarantined);
        self.awaits_confirmation = status.awaits_confirmation;
        self.to_give_back = status.to_give_back;
        self.not_taken_back = status.not_taken_back;
        self.differs = status.differs.iter().map(ToString::to_string).collect();
        (self.findings, self.may_be_lost) = (status.findings, status.may_be_lost);
    }

    /// What is no longer this device's to read, and why.
    pub(super) fn left_text(&self) -> String {
        let all = self.moved_away + self.not_granted;
        let why = match (self.moved_away, self.not_granted) {
            (0, 0) => return String::new(),
            (_, 0) => "moved out of its reach".to_owned(),
            (0, _) => "its grants do not reach there any more".to_owned(),
            (moved, rest) => format!("{moved} moved out of its reach, {rest} for its grants"),
        };
        let number = count(all, "document");
        let verb = if all == 1 { "is" } else { "are" };
        format!("{number} {verb} no longer this device's to read: {why}.\n")
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        attempts_max: SYNC_ATTEMPTS_MAX,
        ..Settings::new(concat!("bukti ", env!("CARGO_PKG_VERSION")))
    }
}

/// One thread does everything: the work is one connection and one disk.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))
}

/// Syncs in this process.
pub(super) fn run(
    mut device: FieldDevice,
    folder: &Path,
    typed: line::Sync,
    json: bool,
) -> Result<Reply, Failure> {
    let settings = Settings {
        deadline: Some(typed.timeout),
        ..settings()
    };
    let mut summary = Summary::starting_from(&device);
    summary.stand(&device.status()?);
    let bar = Bar::new(!json && io::stderr().is_terminal());
    let mut show = |progress: Progress<'_>| {
        summary.note(&progress);
        bar.show(&progress, &summary);
    };
    let ended = runtime()?.block_on(driver::sync_once(&mut device, &settings, &mut show));
    bar.clear();
    match &ended {
        Ok(Synced { traffic })
        | Err(SyncError::Interrupted { traffic, .. } | SyncError::Full { traffic }) => {
            summary.carry(*traffic);
        }
        Err(SyncError::NotReached { .. } | SyncError::Refused(_)) => {}
        // What is on the disk counts, not what this process holds; and no two hold a store.
        Err(error @ SyncError::Device(_)) => {
            drop(device);
            match folder::open(folder) {
                Ok(opened) => device = opened,
                Err(_) => return Ok(failed(&summary, error, json)),
            }
        }
    }
    let status = device.status()?;
    summary.stand(&status);
    summary.up_to_date = ended.is_ok() && summary.is_settled();
    Ok(match ended {
        Ok(_synced) => ended_in_order(&summary, &status, json),
        Err(error) => failed(&summary, &error, json),
    })
}

/// What is told where nothing more is to be done, though something may be left that no server takes now.
pub(super) fn ended_in_order(summary: &Summary, status: &Status, json: bool) -> Reply {
    if summary.unsent == 0 {
        return summary.reply(json);
    }
    let why = match &status.put_off {
        Some(PutOff::Refusal(sentence)) => {
            let refused =
                "the server refused edits that this device has no room to keep as refused";
            going_on(&format!("{refused}: {sentence}"), WHERE_FULL)
        }
        Some(PutOff::Entering) => format!("{NO_ROOM_TO_ENTER}; {WHERE_FULL}"),
        None if status.to_enter_again == status.unsent => NOT_ENTERED_AGAIN.to_owned(),
        None => LACKS_EARLIER.to_owned(),
    };
    not_finished(summary, &Failure::Failed(why), json)
}

/// What came through is told along with why no more did.
pub(super) fn failed(summary: &Summary, error: &SyncError, json: bool) -> Reply {
    let failure = match error {
        SyncError::NotReached { .. } | SyncError::Interrupted { .. } => {
            Failure::NotReached(going_on(&with_causes(error), "everything entered is kept"))
        }
        SyncError::Full { .. } => Failure::NotReached(format!(
            "{error}; everything entered is kept here and goes with the next 'bukti sync'"
        )),
        SyncError::Refused(bye) if summary.quarantined > 0 => Failure::Failed(format!(
            "{} What was refused is kept: see 'bukti quarantine list'.",
            bye.sentence
        )),
        SyncError::Refused(_) | SyncError::Device(_) => Failure::failed(error),
    };
    not_finished(summary, &failure, json)
}

pub(super) fn not_finished(summary: &Summary, failure: &Failure, json: bool) -> Reply {
    let Reply { stderr, exit, .. } = failure.reply();
    let stdout = match (json, exit) {
        (true, _) | (false, Exit::ServerNotReached) => summary.reply(json).stdout,
        (false, _) => String::new(),
    };
    Reply {
        stdout,
        stderr,
        exit,
    }
}

/// A line on a terminal that shows what goes on.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new(is_wanted: bool) -> Self {
        Self(is_wanted.then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            let bar = ProgressBar::new_spinner();
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(BAR_TICK);
            bar
        }))
    }

    fn show(&self, progress: &Progress<'_>, summary: &Summary) {
        let Some(bar) = &self.0 else {
            return;
        };
        let amounts = |unsent: usize| {
            format!(
                "{} up, {} down · sent {}, {unsent} to send, received {}",
                show_bytes(summary.bytes_up),
                show_bytes(summary.bytes_down),
                summary.sent,
                summary.received
            )
        };
        match progress {
            Progress::Connecting { attempt: 1 } => bar.set_message("Connecting"),
            Progress::Connecting { attempt } => {
                bar.set_message(format!("Connecting, attempt {attempt}"))
            }
            Progress::Connected => bar.set_message("Connected"),
            Progress::Traffic { unsent: 0, .. } => {
                bar.set_message(format!("Receiving {}", amounts(0)))
            }
            Progress::Traffic { unsent, .. } => {
                bar.set_message(format!("Sending {}", amounts(*unsent)))
            }
            Progress::Learned(Event::Progress { received, total }, _) => bar.set_message(format!(
                "Receiving one item, {} of {}",
                show_bytes(*received),
                show_bytes(*total)
            )),
            Progress::Learned(_, _) => {}
            Progress::Cut { reason, pause } => bar.set_message(plain(&format!(
                "Waiting {} s: {reason}",
                pause.as_secs() + 1
            ))),
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use bukti_core::id::{ChangeHash, DeviceId, DocumentId};
    use bukti_sync_protocol::bye::Bye;

    use super::*;

    fn accepted(runs: &[u8]) -> Event {
        Event::Accepted(runs.iter().map(|run| (RunId([*run; 16]), 7)).collect())
    }

    fn named(runs: &[u8]) -> Event {
        let own = |run: &u8| Item::Own {
            position: 7,
            received_at: 0,
            run: RunId([*run; 16]),
            document: DocumentId([1; 16]),
            last_seq: 1,
            last_hash: ChangeHash([1; 32]),
        };
        Event::Page {
            items: runs.iter().map(own).collect(),
            cursor: Vec::new(),
        }
    }

    #[test]
    fn a_run_counts_as_sent_once_whether_receipt_or_feed_comes_first() {
        let mut summary = Summary::default();
        summary.learn(&accepted(&[1, 2]));
        summary.learn(&named(&[1, 2, 3]));
        summary.note(&Progress::Learned(&accepted(&[3]), Tally::default()));
        assert_eq!((summary.sent, summary.received), (3, 0));
        assert_eq!(summary.sightings, Sightings::default());
    }

    #[test]
    fn runs_that_were_given_back_are_told_apart_from_those_that_were_sent() {
        let mut summary = Summary::default();
        let tally = Tally {
            gave_back: 2,
            ..Tally::default()
        };
        summary.note(&Progress::Learned(&accepted(&[1, 2, 3]), tally));
        summary.note(&Progress::Learned(&named(&[1, 3]), tally));
        assert_eq!((summary.sent, summary.gave_back), (1, 2));
        let text = summary.text();
        assert!(text.contains("sent 1, gave back 2, received 0."), "{text}");
    }

    #[test]
    fn documents_that_left_are_counted_with_why() {
        let left = |moved_away, not_granted| {
            let mut summary = Summary::default();
            summary.count(Tally {
                moved_away,
                not_granted,
                ..Tally::default()
            });
            summary.left_text()
        };
        assert_eq!(left(0, 0), "");
        assert!(left(1, 0).starts_with("1 document is no longer this device's to read: moved"));
        assert!(left(0, 3).contains("3 documents are") && left(0, 3).contains("grants"));
        assert!(left(2, 3).contains("5 documents are") && left(2, 3).contains("2 moved"));
    }

    #[test]
    fn a_device_that_only_gives_is_told_so_and_not_that_it_is_up_to_date() {
        let summary = Summary {
            awaits_confirmation: true,
            ..Summary::default()
        };
        let text = summary.text();
        assert!(text.starts_with("Not confirmed: sent 0"), "{text}");
        assert!(
            text.contains("gives nothing until an administrator confirms"),
            "{text}"
        );
        assert!(!text.contains("  "), "{text}");
    }

    #[test]
    fn a_run_counts_as_sent_once_across_a_cut() {
        let mut summary = Summary::default();
        summary.learn(&accepted(&[1]));
        summary.note(&Progress::Connected);
        summary.learn(&named(&[1, 2]));
        summary.note(&Progress::Connected);
        assert_eq!(summary.sent, 2);
        assert_eq!(summary.sightings, Sightings::default());
    }

    #[test]
    fn what_others_wrote_counts_as_received_and_statements_do_not() {
        let mut summary = Summary::default();
        summary.learn(&Event::Page {
            items: vec![
                Item::Fact {
                    position: 3,
                    statement: Vec::new(),
                },
                Item::Record {
                    position: 4,
                    received_at: 0,
                    carrier: DeviceId([1; 32]),
                    run: Vec::new(),
                },
            ],
            cursor: Vec::new(),
        });
        assert_eq!((summary.sent, summary.received), (0, 1));
    }

    #[test]
    fn a_sync_that_did_not_finish_prints_its_summary_and_exits_with_3() {
        let error = SyncError::NotReached {
            reason: "connection refused".into(),
        };
        let reply = failed(
            &Summary {
                unsent: 2,
                ..Summary::default()
            },
            &error,
            true,
        );
        let summary: serde_json::Value = serde_json::from_str(&reply.stdout).unwrap();
        assert_eq!(summary["unsent"], 2);
        assert_eq!(summary["up_to_date"], false);
        assert_eq!(reply.exit, Exit::ServerNotReached);
        assert_eq!(
            reply.stderr,
            "the server was not reached: connection refused; everything entered is kept\n"
        );
    }

    #[test]
    fn what_a_server_said_before_it_cut_a_sync_stays_a_sentence() {
        let error = SyncError::Interrupted {
            reason: "The server has a fault; what was sent is kept.".into(),
            traffic: Traffic::default(),
        };
        assert_eq!(
            failed(&Summary::default(), &error, true).stderr,
            "the sync was interrupted: The server has a fault; what was sent is kept. Everything \
             entered is kept.\n"
        );
    }

    #[test]
    fn a_revoked_device_is_told_where_its_edits_are() {
        let error = SyncError::Refused(Bye::revoked());
        let summary = Summary {
            quarantined: 1,
            ..Summary::default()
        };
        let reply = failed(&summary, &error, false);
        assert_eq!((reply.exit, reply.stdout.as_str()), (Exit::Failed, ""));
        assert_eq!(
            reply.stderr,
            "This device was revoked. What was refused is kept: see 'bukti quarantine list'.\n"
        );
    }

    #[test]
    fn the_summary_for_people_says_what_still_waits() {
        let summary = Summary {
            sent: 3,
            received: 1,
            bytes_up: 2048,
            bytes_down: 100,
            frames_up: 4,
            frames_down: 5,
            connections: 2,
            reconnects: 1,
            up_to_date: true,
            unsent: 1,
            quarantined: 2,
            ..Summary::default()
        };
        assert_eq!(
            summary.reply(false).stdout,
            "Up to date: sent 3, received 1. 1 run still to send, 2 refused: see 'bukti quarantine list'.\n\
             2.0 KiB up, 100 B down in 9 frames, 2 connections, 1 reconnect.\n"
        );
        assert!(Summary::default().text().contains("Nothing waits."));
    }
}
