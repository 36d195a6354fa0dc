//! Command lines run on data folders that a stand-in for the server enrolled and feeds.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bukti_client::device::{Applicant, Enrolment, Folders};
use bukti_command::Exit;
use bukti_core::authority::{Grant, Role};
use bukti_core::framework::built_in;
use bukti_core::id::{DeviceId, Incarnation, JournalId, Position, RunId, ServerId, WallMs};
use bukti_core::record::{
    Certificate, Fact, FrameworkFact, JournalFact, Record, Signed, Statement,
};
use bukti_core::region::{RegionRow, RegionSheet};
use bukti_sync_protocol::client::Event;
use bukti_sync_protocol::item::Item;
use bukti_sync_protocol::link::InvitationLink;
use ed25519_dalek::SigningKey;
use serde_json::Value;
use tempfile::TempDir;

use super::*;

mod damage;
mod elsewhere;
mod synced;

const VILLAGE: &str = "32.04.05.2001";
const JOURNAL: JournalId = JournalId([9; 16]);
const SERVER_TIME: WallMs = 4_102_444_800_000;

/// Signs what a server signs, and numbers what it accepts.
pub(super) struct Server {
    key: SigningKey,
    journal: JournalId,
    position: Position,
    url: String,
    temp: Arc<TempDir>,
}

/// One person's data folder.
pub(super) struct Person {
    folder: PathBuf,
    _temp: Arc<TempDir>,
    device: DeviceId,
}

impl Server {
    pub(super) fn new() -> Self {
        Self {
            key: SigningKey::from_bytes(&[3; 32]),
            journal: JOURNAL,
            position: 10,
            url: "https://bukti.example".into(),
            temp: Arc::new(TempDir::new().unwrap()),
        }
    }

    fn id(&self) -> ServerId {
        ServerId(self.key.verifying_key().to_bytes())
    }

    fn state(&self, fact: Fact) -> Vec<u8> {
        let statement = Statement {
            at: 1_790_000_000_000,
            fact,
        };
        Record::Server(Signed::new(statement, &self.key)).to_bytes()
    }

    fn certify(&self, device: DeviceId, person: &str, grants: &[(Role, &str)]) -> Vec<u8> {
        let grants = grants
            .iter()
            .map(|(role, scope)| Grant {
                role: *role,
                scope: scope.parse().unwrap(),
            })
            .collect();
        self.state(Fact::Enrolment(Certificate {
            device,
            person: person.into(),
            grants,
            journal: self.journal,
            invitation: [0; 32],
        }))
    }

    /// What it answers to an enrolment.
    fn enrolment(&self, device: DeviceId, person: &str, grants: &[(Role, &str)]) -> Enrolment {
        let journal = JournalFact {
            journal: self.journal,
            server: self.id(),
        };
        Enrolment {
            journal: self.state(Fact::Journal(journal)),
            certificate: self.certify(device, person, grants),
        }
    }

    /// A person with an enrolled device that received the frameworks and regions.
    fn person(&mut self, name: &str, grants: &[(Role, &str)]) -> Person {
        let folder = self.temp.path().join(name);
        let link = InvitationLink {
            url: self.url.clone(),
            secret: [1; 16],
            server: self.id(),
        };
        let mut seed = [0; 32];
        seed[..name.len()].copy_from_slice(name.as_bytes());
        let folders = Folders::on_disk(&folder).unwrap();
        let applicant = Applicant::open(folders, &link, seed).unwrap();
        let device = DeviceId(applicant.key().verifying_key().to_bytes());
        let enrolment = self.enrolment(device, name, grants);
        let store = folder::store(&folder).unwrap();
        let incarnation = Incarnation(seed[..16].try_into().unwrap());
        drop(applicant.finish(store, &enrolment, incarnation).unwrap());
        let person = Person {
            folder,
            _temp: Arc::clone(&self.temp),
            device,
        };
        self.deliver_facts(&person);
        person
    }

    /// Somebody who enters evidence of the village.
    pub(super) fn officer(&mut self, name: &str) -> Person {
        self.person(name, &[(Role::Officer, VILLAGE)])
    }

    fn deliver_facts(&mut self, person: &Person) {
        let sheet = RegionSheet {
            version: "2025".into(),
            parent: "32.04".parse().unwrap(),
            rows: [("32.04.05", "Cileunyi"), (VILLAGE, "Cibiru Wetan")]
                .map(|(code, name)| RegionRow {
                    code: code.parse().unwrap(),
                    name: name.into(),
                })
                .into(),
        };
        let mut facts = vec![Fact::Regions(sheet)];
        facts.extend(
            built_in().map(|(_name, json)| Fact::Framework(FrameworkFact { json: json.into() })),
        );
        let items = facts
            .into_iter()
            .map(|fact| {
                self.position += 1;
                Item::Fact {
                    position: self.position,
                    statement: self.state(fact),
                }
            })
            .collect();
        person.receive(items);
    }

    /// Accepts what `from` has to send and feeds it to everybody.
    fn pass_on(&mut self, from: &Person, to: &[&Person]) -> usize {
        let runs = from.offers();
        let items: Vec<Item> = runs
            .iter()
            .map(|(_run, bytes)| {
                self.position += 1;
                Item::Record {
                    position: self.position,
                    received_at: SERVER_TIME,
                    carrier: from.device,
                    run: bytes.clone(),
                }
            })
            .collect();
        for person in to.iter().chain([&from]) {
            person.receive(items.clone());
        }
        runs.len()
    }
}

impl Person {
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn receive(&self, items: Vec<Item>) {
        let mut device = folder::open(&self.folder).unwrap();
        let page = Event::Page {
            items,
            cursor: vec![1],
        };
        let before = device.findings().unwrap();
        device.handle_event(clock::wall(), [0; 16], &page).unwrap();
        assert_eq!(device.findings().unwrap(), before);
    }

    fn offers(&self) -> Vec<(RunId, Vec<u8>)> {
        let offers = folder::open(&self.folder).unwrap().offers().into_iter();
        offers.map(|offer| (offer.run, offer.bytes)).collect()
    }

    fn refuse(&self, sentence: &str) {
        let mut device = folder::open(&self.folder).unwrap();
        for run in device.offers().into_iter().map(|offer| offer.run) {
            let refused = Event::Rejected {
                run,
                code: "denied".into(),
                sentence: sentence.into(),
            };
            device.handle_event(clock::wall(), run.0, &refused).unwrap();
        }
    }

    /// Runs a command line; `'…'` holds words together.
    fn bukti(&self, typed: &str) -> Reply {
        let mut args: Vec<OsString> = vec!["bukti".into()];
        for (at, part) in typed.split('\'').enumerate() {
            match at % 2 {
                0 => args.extend(part.split_whitespace().map(OsString::from)),
                _ => args.push(part.into()),
            }
        }
        args.extend(["--data".into(), self.folder.clone().into()]);
        run(&args)
    }

    /// What a command prints on a terminal of 80 columns.
    fn on_terminal(&self, typed: &str) -> String {
        let args: Vec<&str> = std::iter::once("bukti").chain(typed.split(' ')).collect();
        let line: Line = parse(&args).unwrap();
        let request = Request {
            columns: Some(80),
            ..Request::default()
        };
        let mut device = folder::open(&self.folder).unwrap();
        at_desk(&mut device, &self.folder, &line, &request)
            .unwrap()
            .stdout
    }

    fn json(&self, typed: &str) -> Value {
        let reply = self.bukti(&format!("{typed} --json"));
        assert_eq!(
            (reply.exit, reply.stderr.as_str()),
            (Exit::Done, ""),
            "{typed}"
        );
        serde_json::from_str(&reply.stdout).unwrap()
    }

    fn text(&self, typed: &str) -> String {
        let reply = self.bukti(typed);
        assert_eq!(
            (reply.exit, reply.stderr.as_str()),
            (Exit::Done, ""),
            "{typed}"
        );
        reply.stdout
    }

    /// Wrong use: exit status 2, one line, nothing on standard output and nothing changed.
    fn wrong(&self, typed: &str) -> String {
        let before = self.offers();
        let reply = self.bukti(typed);
        assert_eq!(
            (reply.exit, reply.stdout.as_str()),
            (Exit::WrongUse, ""),
            "{typed}: {reply:?}"
        );
        assert_eq!(reply.stderr.lines().count(), 1, "{typed}: {}", reply.stderr);
        assert_eq!(self.offers(), before, "{typed}");
        reply.stderr.trim_end().to_owned()
    }

    fn new_evidence(&self, options: &str) -> String {
        let new = self.json(&format!("evidence new {options}"));
        new["id"].as_str().unwrap().to_owned()
    }
}

const PERDES: &str = "--kind regulation --title 'Perdes APBDes' --row I.1.3";

#[test]
fn new_evidence_is_a_draft_with_everything_that_was_left_out_filled_in() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    let new = ani.json(&format!(
        "evidence new {PERDES} --set year=2025 --set number=4"
    ));
    assert_eq!(new["scope"], VILLAGE);
    assert_eq!(new["framework"], "desa-antikorupsi@2021+checklist-2025");
    assert_eq!(
        new["missing_required"],
        serde_json::json!(["subtype", "subject", "signed_and_stamped"])
    );
    let id = new["id"].as_str().unwrap();
    let shown = ani.json(&format!("evidence show {id}"));
    assert_eq!(shown["title"], "Perdes APBDes");
    assert_eq!(shown["declared"], "draft");
    assert_eq!(
        shown["fields"],
        serde_json::json!({"number": "4", "year": 2025})
    );
    assert_eq!(shown["rows"], serde_json::json!(["I.1.3"]));
    assert_eq!(shown["cycle"], new["cycle"]);
    assert_eq!(ani.offers().len(), 1);
}

#[test]
fn evidence_goes_from_draft_to_ready_to_withdrawn_under_an_id_in_short() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    let id = ani.new_evidence(PERDES);
    let short = &id[..6];
    let state = || ani.json("evidence list")["evidence"][0]["shown_as"].clone();
    assert_eq!(state(), "Draft");
    let said = ani.text(&format!("evidence ready {short}"));
    assert!(
        said.contains("Required and still empty: subtype, number"),
        "{said}"
    );
    assert_eq!(state(), "Ready to send");
    server.pass_on(&ani, &[]);
    assert_eq!(state(), "Received");
    ani.text(&format!("evidence draft {short}"));
    assert_eq!(state(), "Draft");
    ani.text(&format!(
        "evidence withdraw {short} --reason 'Salah unggah'"
    ));
    assert_eq!(state(), "Withdrawn");
    let shown = ani.json(&format!("evidence show {short}"));
    assert_eq!(shown["withdrawal_reason"], "Salah unggah");
}

#[test]
fn an_edit_changes_exactly_what_was_named() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    let id = ani.new_evidence(&format!("{PERDES} --set year=2025 --set number=4"));
    fs::write(ani.folder.join("n.txt"), "Dibahas dua kali.\n").unwrap();
    let file = ani.folder.join("n.txt");
    let edited = ani.json(&format!(
        "evidence edit {id} --title 'Perdes 4' --set number= --set year=2026 \
         --narrative-file {} --add-row II.2 --remove-row I.1.3",
        file.display()
    ));
    assert_eq!(edited["changed"], true);
    let shown = ani.json(&format!("evidence show {id}"));
    assert_eq!(shown["title"], "Perdes 4");
    assert_eq!(shown["fields"], serde_json::json!({"year": 2026}));
    assert_eq!(shown["rows"], serde_json::json!(["II.2"]));
    assert_eq!(shown["narrative"], "Dibahas dua kali.\n");
    let again = ani.json(&format!("evidence edit {id} --title 'Perdes 4'"));
    assert_eq!(again["changed"], false);
}

#[test]
fn whatever_is_typed_wrongly_is_one_line_and_changes_nothing() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    let id = ani.new_evidence(PERDES);
    let new = |options: &str| ani.wrong(&format!("evidence new --kind photo --title x {options}"));
    let edit = |options: &str| ani.wrong(&format!("evidence edit {id} {options}"));
    let cases = [
        (
            ani.wrong("evidence new --kind film --title x"),
            "'film' is not a kind of evidence: expected one of regulation",
        ),
        (
            ani.wrong("evidence new --kind photo --title ' '"),
            "'' is not a title: expected one line",
        ),
        (
            new("--set colour=red"),
            "'colour' is not a field of photo: expected one of",
        ),
        (new("--row I.1.99"), "expected a row of indicator I.1"),
        (
            new("--region 32.04.06"),
            "may not create evidence of 32.04.06",
        ),
        (
            new("--region here"),
            "'here' is not a scope: expected a region code",
        ),
        (
            new("--framework mine"),
            "'mine' is not a framework in use: expected one of desa-antikorupsi@",
        ),
        (
            new("--framework kabkota-antikorupsi --row I.1.3"),
            "'I.1.3' is not in kabkota-antikorupsi@2024",
        ),
        (new("--cycle 20"), "'20' is not a cycle"),
        (
            new("--narrative-file nowhere.txt"),
            "expected a text file in UTF-8",
        ),
        (edit(""), "nothing to change: expected --title"),
        (
            edit("--set colour=red"),
            "'colour' is not a field of regulation",
        ),
        (edit("--remove-row I.1.4"), "expected one of I.1.3"),
        (
            edit("--add-row I.1.4 --remove-row I.1.4"),
            "is added and removed",
        ),
        (
            ani.wrong("evidence show abc"),
            "expected the id of a piece of evidence",
        ),
        (
            ani.wrong("evidence ready zzzzzz"),
            "no evidence here has an id that begins with 'zzzzzz'",
        ),
        (
            ani.wrong(&format!("evidence withdraw {id} --reason ' '")),
            "is not a reason",
        ),
        (
            ani.wrong(&format!("resolve {id} title --keep 1")),
            "has no conflict",
        ),
        (ani.wrong("quarantine show 1"), "quarantine: nothing is"),
        (ani.wrong("quarantine reenter 1"), "quarantine: nothing is"),
        (ani.wrong("indicators I.9"), "expected perhaps I."),
    ];
    for (said, expected) in cases {
        assert!(said.contains(expected), "{said}\nexpected: {expected}");
    }
}

#[test]
fn a_verifier_may_look_and_not_write() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    let budi = server.person("Budi", &[(Role::Verifier, "32.04")]);
    let id = ani.new_evidence(PERDES);
    ani.text(&format!("evidence ready {id}"));
    server.pass_on(&ani, &[&budi]);
    assert_eq!(budi.json("evidence list")["evidence"][0]["id"], *id);
    assert!(
        budi.wrong(&format!("evidence draft {id}"))
            .contains("only officer or unit head may")
    );
    assert!(
        budi.wrong(&format!("evidence new {PERDES}"))
            .contains("verifier on 32.04")
    );
}

#[test]
fn shared_facts_are_the_same_bytes_on_every_device() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    let citra = server.person("Citra", &[(Role::UnitHead, "32.04")]);
    let id = ani.new_evidence(PERDES);
    server.pass_on(&ani, &[&citra]);
    ani.text(&format!("evidence edit {id} --title Satu"));
    citra.text(&format!("evidence edit {id} --title Dua"));
    server.pass_on(&ani, &[&citra]);
    server.pass_on(&citra, &[&ani]);
    let show = format!("evidence show {id} --json");
    let (here, there) = (ani.text(&show), citra.text(&show));
    assert_eq!(here, there);
    assert!(!here.contains("unsent") && here.contains("\"conflicts\""));
}

/// Three officers who wrote three numbers at once; the third is still on her device.
fn three_numbers(server: &mut Server) -> (Person, Person, Person, String) {
    let [ani, citra, dewi] = ["Ani", "Citra", "Dewi"].map(|name| server.officer(name));
    let id = ani.new_evidence(PERDES);
    server.pass_on(&ani, &[&citra, &dewi]);
    for (number, person) in [&ani, &citra, &dewi].into_iter().enumerate() {
        person.text(&format!("evidence edit {id} --set number={number}"));
    }
    server.pass_on(&ani, &[&citra, &dewi]);
    server.pass_on(&citra, &[&ani, &dewi]);
    (ani, citra, dewi, id)
}

#[test]
fn a_choice_by_number_needs_a_look_at_exactly_these_values() {
    let mut server = Server::new();
    let (ani, citra, dewi, id) = three_numbers(&mut server);
    let resolve = |keep: &str| format!("resolve {id} number --keep {keep}");
    assert!(
        ani.wrong(&resolve("1"))
            .contains("were not listed yet; look with bukti conflicts")
    );
    let listed = ani.json("conflicts");
    assert_eq!(listed["conflicts"][0]["path"], "fields/number");
    assert!(ani.wrong(&resolve("3")).contains("expected 1 to 2"));

    // Dewi's number comes in after the look.
    server.pass_on(&dewi, &[&ani, &citra]);
    let changed = "the values changed since they were listed; look again with bukti conflicts";
    for keep in [
        "1",
        listed["conflicts"][0]["values"][0]["change"]
            .as_str()
            .unwrap(),
    ] {
        let said = ani.wrong(&resolve(keep));
        assert!(said.contains(changed), "{said}");
    }

    let listed = ani.json(&format!("conflicts {id}"));
    let values = listed["conflicts"][0]["values"].as_array().unwrap();
    assert_eq!(values.len(), 3);
    ani.text(&resolve("2"));
    let shown = ani.json(&format!("evidence show {id}"));
    assert_eq!(shown["fields"]["number"], values[1]["value"]);
    assert!(ani.wrong(&resolve("2")).contains(changed));
    assert!(ani.text("conflicts").starts_with("Nothing to choose"));
}

#[test]
fn a_choice_by_change_needs_no_look() {
    let mut server = Server::new();
    let (_ani, citra, _dewi, id) = three_numbers(&mut server);
    let shown = citra.json(&format!("evidence show {id}"));
    let value = &shown["conflicts"][0]["values"][0];
    let change = value["change"].as_str().unwrap();
    citra.text(&format!(
        "resolve {id} fields/number --keep {}",
        &change[..8]
    ));
    let shown = citra.json(&format!("evidence show {id}"));
    assert_eq!(shown["conflicts"], serde_json::json!([]));
    assert_eq!(shown["fields"]["number"], value["value"]);
}

#[test]
fn history_names_people_and_marks_clocks_that_cannot_be_right() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    let id = ani.new_evidence(PERDES);
    ani.text(&format!("evidence edit {id} --title 'Perdes 4'"));
    assert!(
        ani.text(&format!("evidence history {id}"))
            .contains("not yet")
    );
    server.pass_on(&ani, &[]);
    let text = ani.text(&format!("evidence history {id}"));
    assert!(
        text.contains("2100-01-01 00:00Z") && text.contains("Ani"),
        "{text}"
    );
    assert!(
        text.contains("title: \"Perdes APBDes\" → \"Perdes 4\""),
        "{text}"
    );
    assert!(!text.contains("clock?"), "{text}");
    let history = ani.json(&format!("evidence history {id}"));
    assert_eq!(history["changes"].as_array().unwrap().len(), 2);
    assert_eq!(history["changes"][1]["person"], "Ani");
    assert_eq!(history["changes"][1]["clock_doubtful"], false);
}

#[test]
fn indicators_show_gaps_and_the_evidence_of_each_row() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    let id = ani.new_evidence(PERDES);
    ani.text(&format!("evidence ready {id}"));
    ani.new_evidence("--kind photo --title Papan --row I.1.4 --row II.2.1");
    let sheet = ani.json("indicators");
    let indicator = &sheet["indicators"][0];
    assert_eq!(
        (&indicator["code"], &indicator["evidence"]),
        (&"I.1".into(), &2.into())
    );
    let gaps = |name: &str| indicator[name].as_array().unwrap().clone();
    assert_eq!(gaps("without_ready").len(), 9);
    assert_eq!(gaps("without_evidence").len(), 8);
    assert!(!gaps("without_ready").contains(&"I.1.3".into()));
    assert_eq!(sheet["totals"]["evidence"], 2);
    let rows = ani.json("indicators I.1")["rows"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(rows.len(), 10);
    assert_eq!(rows[2]["evidence"][0]["id"], *id);
    let one = ani.json("indicators I.1.3")["rows"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(one.len(), 1);
    assert_eq!(
        ani.json("indicators II")["rows"].as_array().unwrap().len(),
        10
    );
    let other_year = ani.json("indicators --cycle 2001");
    assert_eq!(
        (
            &other_year["totals"]["evidence"],
            &other_year["other_cycles"]
        ),
        (&0.into(), &2.into())
    );
}

/// The table in a text, its ids left out since every device draws its own.
fn table_of(text: &str, id: &str) -> Vec<String> {
    text.replace(&id[..8], "(id)    ")
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[test]
fn a_list_on_a_narrow_terminal_wraps_long_titles() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    let id = ani.new_evidence(
        "--kind photo --title 'Papan pengumuman APBDes di balai desa' --row V.1.2 --row I.1.3 --row I.1.4",
    );
    assert_eq!(
        table_of(&ani.on_terminal("evidence list"), &id),
        [
            "Id         Title                      Kind    Rows              State   Delivery",
            "────────────────────────────────────────────────────────────────────────────────",
            "(id)       Papan pengumuman APBDes    photo   I.1.3, I.1.4 +1   Draft   1 unsent",
            "           di balai desa",
        ]
    );
}

#[test]
fn a_sheet_shows_weights_only_where_they_are_official_and_no_sum_of_some() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    ani.new_evidence("--kind photo --title Papan --row I.1.3");
    let text = ani.on_terminal("indicators I.2");
    assert!(text.contains("I.2.1"), "{text}");
    let text = ani.on_terminal("indicators");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let cells = |code: &str| -> Vec<&str> {
        let line = lines
            .iter()
            .find(|line| line.split_whitespace().next() == Some(code));
        line.unwrap().split_whitespace().rev().take(5).collect()
    };
    assert_eq!(cells("I.1"), ["9", "10", "1", "10", "5"]);
    assert_eq!(cells("I.2"), ["5", "5", "0", "5", "–"]);
    assert_eq!(cells("Total"), ["90", "91", "1", "91", "–"]);
    assert!(
        text.ends_with("0 of 91 rows have evidence that is ready, 90 have none at all.\n"),
        "{text}"
    );
}

#[test]
fn what_the_server_refused_is_shown_exported_and_entered_again() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    ani.new_evidence(PERDES);
    ani.refuse("The device was not allowed to.");
    let listed = ani.json("quarantine list");
    assert_eq!(listed["quarantine"][0]["number"], 1);
    assert_eq!(
        listed["quarantine"][0]["sentence"],
        "The device was not allowed to."
    );
    assert!(ani.text("quarantine show 1").contains("Perdes APBDes"));
    let file = ani.folder.join("out.json");
    ani.text(&format!("quarantine export {}", file.display()));
    let exported: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(exported["quarantine"].as_array().unwrap().len(), 1);
    let again = ani.wrong(&format!("quarantine export {}", file.display()));
    assert!(again.contains("exists already"), "{again}");
    assert!(
        ani.wrong("quarantine reenter 2")
            .contains("expected a number from 1 to 1")
    );
    ani.text("quarantine reenter 1");
    let listed = ani.json("evidence list");
    assert_eq!(listed["evidence"][0]["title"], "Perdes APBDes");
    assert!(
        ani.wrong("quarantine reenter 1")
            .contains("entered again already")
    );
}

#[test]
fn an_export_holds_every_word_of_what_was_refused() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    let narrative = "Musyawarah desa. ".repeat(200) + "Selesai.";
    let written = ani.folder.join("n.txt");
    fs::write(&written, &narrative).unwrap();
    ani.new_evidence(&format!("{PERDES} --narrative-file {}", written.display()));
    ani.refuse("The device was not allowed to.");
    let file = ani.folder.join("out.json");
    ani.text(&format!("quarantine export {}", file.display()));
    let exported: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let words = exported["quarantine"][0]["words"].as_array().unwrap();
    let holds = |line: &Value| line.as_str().unwrap().contains(&narrative);
    assert!(words.iter().any(holds), "{words:?}");
}

#[test]
fn a_refused_run_goes_by_its_number_and_by_its_id() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    ani.new_evidence(PERDES);
    ani.refuse("The device was not allowed to.");
    let listed = ani.json("quarantine list");
    let run = listed["quarantine"][0]["run"].as_str().unwrap();
    let shown = ani.json(&format!("quarantine show {run}"));
    assert_eq!(shown, ani.json("quarantine show 1"));
    for typed in ["2", "0", "abc", &"0".repeat(32), &run[..31]] {
        let said = ani.wrong(&format!("quarantine show {typed}"));
        assert_eq!(
            said,
            format!(
                "'{typed}' is not in quarantine: expected a number from 1 to 1, or the id of a run as \
                 'bukti quarantine list --json' gives it"
            )
        );
    }
    ani.text(&format!("quarantine reenter {run}"));
    assert_eq!(
        ani.json("evidence list")["evidence"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn status_tells_what_waits_and_what_was_received() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    ani.new_evidence(PERDES);
    let status = ani.json("status");
    assert_eq!(status["person"], "Ani");
    assert_eq!(
        (&status["unsent"], &status["received"]),
        (&1.into(), &0.into())
    );
    assert_eq!(status["delivery"][0]["state"], "draft");
    server.pass_on(&ani, &[]);
    let status = ani.json("status");
    assert_eq!(
        (&status["unsent"], &status["received"]),
        (&0.into(), &1.into())
    );
    let text = ani.text("status");
    assert!(
        text.contains("officer on 32.04.05.2001") && text.contains("never: run 'bukti sync'"),
        "{text}"
    );
}

#[test]
fn a_folder_that_does_not_exist_is_not_made() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("mistyped");
    let args = ["bukti", "status", "--data"].map(OsString::from);
    let reply = run(&[args.as_slice(), &[folder.clone().into()]].concat());
    assert_eq!(reply.exit, Exit::Failed);
    assert!(
        reply.stderr.contains("run 'bukti enrol LINK'"),
        "{}",
        reply.stderr
    );
    assert!(!Path::new(&folder).exists());
}
