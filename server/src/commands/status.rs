//! `status`: the state of a server on one screen.

use bukti_command::{Exit, Reply, show};
use bukti_core::framework::Framework;
use bukti_core::journal::Space;
use bukti_core::ledger::{DeviceRow, Found, ReadError};
use bukti_core::record::Fact;
use bukti_core::scope::Scope;
use serde_json::{Value, json};

use super::{Failure, Office, findings, say, verify};
use crate::accepting::Reader;
use crate::descriptors::SocketRoom;
use crate::links::Links;
use crate::scrub::Seen;

/// Findings that `status` shows; `findings` lists all.
const FINDINGS_SHOWN: usize = 5;

pub(super) fn status(office: &Office, json: bool) -> Result<Reply, Failure> {
    let reader = office.reader();
    let seen = reader.watermark();
    let mut unread = Vec::new();
    let documents = readable(documents(reader), &mut unread);
    let devices = readable(devices(reader), &mut unread);
    let frameworks = readable(frameworks(reader), &mut unread);
    let (found, lost) = reader.readable_findings();
    let all_found = lost.is_empty();
    unread.extend(lost);
    // Places of what cannot be read are those that `verify` names.
    let damaged = match unread.is_empty() {
        true => Vec::new(),
        false => verify::damaged(reader, &unread),
    };
    let kept_aside = office.folder.kept_aside();
    let scrub = office.scrubbing.as_ref().map(|scrubbing| scrubbing.seen());
    let space = office.accepting().space().ok();
    let full = space.is_some_and(|space| space.is_at_reserve());
    let degraded = !damaged.is_empty() || scrub.as_ref().is_some_and(|seen| seen.degraded);
    let number = |of: fn(&Found) -> bool| {
        let count = || found.iter().filter(|found| of(found)).count();
        all_found.then(count)
    };
    let listed: Vec<Value> = found.iter().map(findings::shown).collect();
    let value = json!({
        "serving": office.serving,
        "connections": office.room.map(|room| json!({
            "max": room.sessions,
            "configured": room.configured,
        })),
        "healthy": office.accepting().healthy(),
        "full": full,
        "disk_free_bytes": space.map(|space| space.free_bytes),
        "disk_reserve_bytes": space.map(|space| space.reserve_bytes),
        "journal": reader.journal().to_string(),
        "server": office.server().to_string(),
        "url": office.links.url(),
        "url_known_by": office.links.known_by(),
        "position": seen.position,
        "chain": seen.chain.to_string(),
        "documents": documents.map(|documents| documents.all),
        "documents_published": documents.map(|documents| documents.published),
        "devices": devices.as_ref().map(Devices::all),
        "devices_active": devices.as_ref().map(|devices| devices.active),
        "devices_unconfirmed": devices.as_ref().map(|devices| devices.unconfirmed),
        "devices_revoked": devices.as_ref().map(|devices| devices.revoked),
        "frameworks": frameworks,
        "findings": listed,
        "findings_acknowledged": number(|found| found.acknowledged.is_some()),
        "findings_waiting": number(Found::waits),
        "kept_aside": kept_aside,
        "damaged": damaged,
        "degraded": degraded,
        "scrub": scrub,
    });
    let text = || {
        let state = if !office.serving {
            "stopped"
        } else if degraded {
            "serving, and the journal is damaged: see 'findings' and 'verify'"
        } else if office.accepting().healthy() {
            "serving"
        } else {
            "failed"
        };
        let unreadable = || "cannot be read".to_owned();
        let mut text = format!(
            "state       {state}\n\
             links to    {}\n\
             server      {}\n\
             journal     {}\n\
             records     {}\n\
             chain       {}\n\
             documents   {}\n\
             devices     {}\n\
             frameworks  {}\n",
            links_text(&office.links),
            office.server(),
            reader.journal(),
            seen.position,
            seen.chain,
            documents.map_or_else(unreadable, Documents::text),
            devices.as_ref().map_or_else(unreadable, Devices::text),
            match &frameworks {
                None => unreadable(),
                Some(names) if names.is_empty() => "none".to_owned(),
                Some(names) => names.join(", "),
            },
        );
        if let Some(space) = space {
            text.push_str(&disk(space));
        }
        if let Some(room) = office.room {
            text.push_str(&narrowed(room));
        }
        text.push_str(&format!("scrub       {}\n", scrub_text(scrub.as_ref())));
        if !all_found {
            text.push_str("findings    not all can be read\n");
        }
        if all_found || !found.is_empty() {
            text.push_str(&found_text(&found));
        }
        for shown in &damaged {
            text.push_str(&format!("damaged     {shown}\n"));
        }
        for name in &kept_aside {
            text.push_str(&format!("kept aside  {name}\n"));
        }
        text
    };
    let exit = if damaged.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    };
    Ok(say(json, &value, text).with_exit(exit))
}

/// What was read; the reason is kept of what was not, so that the rest is shown all the same.
fn readable<T>(read: Result<T, ReadError>, unread: &mut Vec<ReadError>) -> Option<T> {
    read.map_err(|error| unread.push(error)).ok()
}

/// How many documents there are.
#[derive(Debug, Clone, Copy, Default)]
struct Documents {
    all: u64,
    published: u64,
}

impl Documents {
    fn text(self) -> String {
        format!("{} ({} published)", self.all, self.published)
    }
}

fn documents(reader: &Reader) -> Result<Documents, ReadError> {
    let mut documents = Documents::default();
    for document in reader.documents(&Scope::all()) {
        let (_, row) = document?;
        documents.all += 1;
        documents.published += u64::from(row.published());
    }
    Ok(documents)
}

fn devices(reader: &Reader) -> Result<Devices, ReadError> {
    let mut devices = Devices::default();
    for device in reader.devices() {
        let (_, row) = device?;
        devices.add(&row, reader.is_confirmed(&row));
    }
    Ok(devices)
}

/// How many devices there are of each standing.
#[derive(Debug, Default)]
struct Devices {
    active: u64,
    unconfirmed: u64,
    revoked: u64,
}

impl Devices {
    fn add(&mut self, row: &DeviceRow, confirmed: bool) {
        let standing = match (row.revoked_at, confirmed) {
            (Some(_), _) => &mut self.revoked,
            (None, true) => &mut self.active,
            (None, false) => &mut self.unconfirmed,
        };
        *standing += 1;
    }

    fn all(&self) -> u64 {
        self.active + self.unconfirmed + self.revoked
    }

    fn text(&self) -> String {
        let mut text = format!("{}: {} active", self.all(), self.active);
        if self.unconfirmed > 0 {
            let verb = if self.unconfirmed == 1 {
                "waits"
            } else {
                "wait"
            };
            let waits = format!(", {} {verb} for 'bukti-server confirm'", self.unconfirmed);
            text.push_str(&waits);
        }
        if self.revoked > 0 {
            text.push_str(&format!(", {} revoked", self.revoked));
        }
        text
    }
}

/// Where links lead, and what is to be known of that.
fn links_text(links: &Links) -> String {
    let url = links.url().unwrap_or("nowhere");
    match links.caution() {
        Some(caution) => format!("{url} ({caution})"),
        None => url.to_owned(),
    }
}

/// How far the scrub is, in a line.
fn scrub_text(scrub: Option<&Seen>) -> String {
    let Some(seen) = scrub else {
        return "only while serving".to_owned();
    };
    let last = match seen.completed_at {
        Some(at) => format!("last pass done {}", show::show_time(at)),
        None => "no pass done yet".to_owned(),
    };
    let pace = format!("{}/s", show::show_bytes(seen.bytes_per_second));
    let damaged = match seen.damaged {
        0 => String::new(),
        places => format!(", {places} damaged"),
    };
    let (position, end) = (seen.position, seen.end);
    let pass = match position == end {
        true => format!("up to record {end}"),
        false => format!("{} %, record {position} of {end}", seen.percent),
    };
    format!("{pass}, {pace}, {last}{damaged}")
}

/// What is left to do about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    /// Somebody has to look into it.
    Waits,
    /// Somebody has.
    Acknowledged,
    /// It speaks of nothing that somebody has to mend.
    NeedsNone,
}

impl Answered {
    fn of(found: &Found) -> Self {
        match (found.waits(), &found.acknowledged) {
            (true, _) => Self::Waits,
            (false, Some(_)) => Self::Acknowledged,
            (false, None) => Self::NeedsNone,
        }
    }
}

/// The newest findings, those that wait for somebody before the others.
fn found_text(found: &[Found]) -> String {
    let of = |wanted| {
        let standings = found.iter().map(Answered::of);
        standings.filter(|standing| *standing == wanted).count()
    };
    let counts = [
        (of(Answered::Waits), "to acknowledge"),
        (of(Answered::Acknowledged), "acknowledged"),
        (of(Answered::NeedsNone), "to know of"),
    ];
    let counted = counts.iter().filter(|(number, _)| *number > 0);
    let counted: Vec<String> = counted
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    let mut text = match found.len() {
        0 => "findings    none\n".to_owned(),
        count => format!(
            "findings    {count}: {}; see 'findings'\n",
            counted.join(", ")
        ),
    };
    let mut newest: Vec<&Found> = found.iter().collect();
    newest.sort_by_key(|found| (!found.waits(), std::cmp::Reverse(found.position)));
    for found in newest.iter().take(FINDINGS_SHOWN) {
        text.push_str(&show::plain(&format!(
            "  record {}{}, {}: {}",
            found.position,
            match Answered::of(found) {
                Answered::Waits => ", to acknowledge",
                Answered::Acknowledged => ", acknowledged",
                Answered::NeedsNone => "",
            },
            findings::place(found),
            found.finding.sentence
        )));
        text.push('\n');
    }
    text
}

/// That fewer connections are taken than configured, if it is so.
fn narrowed(room: SocketRoom) -> String {
    match room.narrowed_by {
        Some(allowed) => format!(
            "connections at most {} of {} configured: the system allows {allowed} open files\n",
            room.sessions, room.configured
        ),
        None => String::new(),
    }
}

fn disk(space: Space) -> String {
    let free = show::show_bytes(space.free_bytes);
    let reserve = show::show_bytes(space.reserve_bytes);
    let state = match space.is_at_reserve() {
        true => "full: writes wait until there is more than",
        false => "of which are kept:",
    };
    format!("disk        {free} free, {state} {reserve}\n")
}

fn frameworks(reader: &Reader) -> Result<Vec<String>, ReadError> {
    let mut names = Vec::new();
    for framework in reader.frameworks() {
        let (_, place) = framework?;
        if let Fact::Framework(fact) = reader.statement(place)?.fact()
            && let Ok(framework) = Framework::from_json("framework", &fact.json)
        {
            names.push(framework.reference().to_string());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use bukti_core::ledger::{Acknowledged, code};
    use bukti_core::record::Finding;

    use super::*;

    fn found(position: u64, code: &str, note: Option<&str>) -> Found {
        Found {
            position,
            at: 0,
            finding: Finding {
                code: code.to_owned(),
                sentence: "It is so.".to_owned(),
                device: None,
                document: None,
                run: None,
                place: Some("store".to_owned()),
            },
            acknowledged: note.map(|note| Acknowledged {
                position: position + 10,
                at: 0,
                note: note.to_owned(),
            }),
        }
    }

    #[test]
    fn findings_are_counted_by_what_is_left_to_do_about_them_and_marked_so() {
        assert_eq!(found_text(&[]), "findings    none\n");
        let told = [found(3, code::TORN, None), found(4, code::FORK, None)];
        let text = found_text(&told);
        assert!(
            text.starts_with("findings    2: 2 to know of; see 'findings'\n"),
            "{text}"
        );
        let all = [
            found(3, code::DAMAGE, Some("Disk replaced.")),
            found(4, code::DAMAGE, None),
            found(5, code::FORK, None),
        ];
        assert_eq!(
            found_text(&all),
            "findings    3: 1 to acknowledge, 1 acknowledged, 1 to know of; see 'findings'\n  \
             record 4, to acknowledge, store: It is so.\n  \
             record 5, store: It is so.\n  \
             record 3, acknowledged, store: It is so.\n"
        );
    }
}
