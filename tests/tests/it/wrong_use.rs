//! Every wrong command line, file, link, scope and id: one line on standard error that says what
//! was expected, exit status 2, and nothing is changed by it.

use std::fs;
use std::path::Path;

use bukti_tests::process::{Phone, Printed, Server, run, server_command};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::field::{Field, OTHER_VILLAGE, VILLAGE, new_evidence};

/// A wrong command line, and what the answer has to name.
type Case<'a> = (&'a [&'a str], &'a str);

fn is_refused(line: &[&str], says: &str, printed: &Printed) {
    let shown = format!("{line:?}: {printed:?}");
    assert_eq!(printed.status, Some(2), "{shown}");
    assert_eq!(printed.stdout, "", "{shown}");
    assert_eq!(printed.stderr.lines().count(), 1, "{shown}");
    assert!(printed.stderr.len() > 20, "{shown}");
    assert!(printed.stderr.contains(says), "no '{says}' in {shown}");
    assert!(!printed.stderr.contains("panicked"), "{shown}");
}

#[test]
fn wrong_use_of_the_field_command_is_one_line_and_changes_nothing() {
    let field = Field::open(&[]);
    let sari = field.phone("sari", "officer", VILLAGE);
    let id = new_evidence(&sari, "Perdes");
    sari.run(&["sync"]).ok();
    let files = Files::make(&field);
    let link = field.invite("officer", VILLAGE, "Budi");
    let cut = &link[..link.len() - 4];
    let mistyped = mistype(&link);
    let other_page = link.replace("/enrol#", "/#");
    let new: &[&str] = &["evidence", "new", "--kind", "regulation", "--title", "x"];
    let with = |more: &[&'static str]| -> Vec<&str> { [new, &["--row", "I.1.3"], more].concat() };
    let long = "x".repeat(600);

    let evidence: &[Case<'_>] = &[
        (&[], "expected a command"),
        (&["evidnce"], "evidence"),
        (&["evidence"], "expected a command"),
        (&["evidence", "list", "all"], "'all' is not expected"),
        (&["evidence", "list", "--sort", "x"], "--sort"),
        (&["--json=yes", "status"], "--json"),
        (&["evidence", "show"], "<ID>"),
        (&["evidence", "show", "abc"], "6"),
        (&["evidence", "show", "../../etc"], "is not an id"),
        (&["evidence", "show", "zzzzzzzz"], "zzzzzzzz"),
        (&["evidence", "history", "zzzzzzzz"], "zzzzzzzz"),
        (&["evidence", "ready", "zzzzzzzz"], "zzzzzzzz"),
        (&["evidence", "draft", ""], "expected the id"),
        (&["evidence", "withdraw", &id], "--reason"),
        (&["evidence", "withdraw", &id, "--reason", " "], "reason"),
        (&["evidence", "new"], "--kind"),
        (&["evidence", "new", "--kind", "regulation"], "--title"),
        (
            &["evidence", "new", "--kind", "film", "--title", "x"],
            "regulation",
        ),
        (
            &["evidence", "new", "--kind", "regulation", "--title", ""],
            "title",
        ),
        (
            &["evidence", "new", "--kind", "regulation", "--title", &long],
            "title",
        ),
        (
            &["evidence", "new", "--kind", "regulation", "--title", "a\nb"],
            "title",
        ),
        (&["evidence", "edit", &id], "nothing to change"),
        (&["evidence", "edit", &id, "--title", " "], "title"),
        (&["evidence", "edit", &id, "--set", "yaer=1"], "year"),
        (&["evidence", "edit", &id, "--set", "year=last"], "year"),
        (&["evidence", "edit", &id, "--set", "year"], "field=value"),
        (&["evidence", "edit", &id, "--add-row", "X.1"], "X.1"),
        (&["evidence", "edit", &id, "--remove-row", "I.1.4"], "I.1.3"),
        (
            &["evidence", "edit", &id, "--narrative-file", &files.missing],
            "missing",
        ),
    ];
    let creations: [(Vec<&str>, &str); 14] = [
        (with(&["--set", "title"]), "field=value"),
        (with(&["--set", "nofield=1"]), "number"),
        (with(&["--set", "year=2024", "--set", "year=2025"]), "year"),
        (with(&["--cycle", "1800"]), "1800"),
        (with(&["--cycle", "next"]), "next"),
        (with(&["--region", "13.0"]), "13.0"),
        (with(&["--region", OTHER_VILLAGE]), VILLAGE),
        (with(&["--region", "all"]), "all"),
        (with(&["--framework", "nothing"]), "desa-antikorupsi"),
        (with(&["--framework", "A B"]), "framework"),
        ([new, &["--row", "I.9.99"]].concat(), "I.9.99"),
        ([new, &["--row", "i.1.3"]].concat(), "i.1.3"),
        ([new, &["--row", "I.1"]].concat(), "I.1"),
        ([new, &["--indicator", "Z.1"]].concat(), "Z.1"),
    ];
    let narratives: [(Vec<&str>, &str); 5] = [
        (
            [new, &["--narrative-file", &files.pipe]].concat(),
            "not a file",
        ),
        (
            [new, &["--narrative-file", &files.missing]].concat(),
            "missing",
        ),
        (
            [new, &["--narrative-file", &files.binary]].concat(),
            "UTF-8",
        ),
        ([new, &["--narrative-file", &files.huge]].concat(), "huge"),
        (
            [new, &["--narrative-file", &files.folder]].concat(),
            "not a file",
        ),
    ];
    let rest: &[Case<'_>] = &[
        (&["kinds", "film"], "regulation"),
        (&["indicators", "X.9"], "X.9"),
        (
            &["indicators", "--framework", "nothing"],
            "desa-antikorupsi",
        ),
        (&["indicators", "--region", "13.0"], "13.0"),
        (&["indicators", "--cycle", "x"], "'x'"),
        (&["conflicts", "zzzzzzzz"], "zzzzzzzz"),
        (&["resolve", &id, "title"], "--keep"),
        (&["resolve", &id, "title", "--keep", "1"], "no conflict"),
        (&["resolve", &id, "title", "--keep", "first"], "first"),
        (&["resolve", "zzzzzzzz", "title", "--keep", "1"], "zzzzzzzz"),
        (&["sync", "--timeout", "0"], "seconds"),
        (&["sync", "--timeout", "soon"], "seconds"),
        (&["sync", "--watch", "--timeout", "5"], "--timeout"),
        (&["status", "now"], "'now' is not expected"),
        (&["quarantine"], "expected a command"),
        (&["quarantine", "show", "1"], "quarantine"),
        (&["quarantine", "show", "x"], "'x'"),
        (&["quarantine", "reenter", "0"], "quarantine"),
        (&["quarantine", "export"], "<FILE>"),
        (&["quarantine", "export", &files.text], "exists already"),
        (
            &["quarantine", "export", &files.nowhere],
            "folder that exists",
        ),
        (&["enrol"], "<LINK>"),
        (&["enrol", "hello"], "invitation link"),
        (&["enrol", cut], "mistyped or cut"),
        (&["enrol", &mistyped], "mistyped or cut"),
        (&["enrol", &other_page], "invitation link"),
        (&["enrol", "ftp://a/enrol#b.c"], "https://"),
    ];

    let before = State::of(&sari, &field);
    let creations = creations.iter().chain(&narratives);
    let creations = creations.map(|(line, says)| (line.as_slice(), *says));
    let cases: Vec<Case<'_>> = evidence
        .iter()
        .copied()
        .chain(creations)
        .chain(rest.iter().copied())
        .collect();
    assert!(cases.len() > 60);
    for (line, says) in cases {
        is_refused(line, says, &sari.run(line));
    }
    sari.run(&["sync"]).ok();
    assert_eq!(State::of(&sari, &field), before);
}

#[test]
fn wrong_use_of_the_server_is_one_line_and_changes_nothing_whether_it_serves_or_not() {
    let mut field = Field::open(&[]);
    let sari = field.phone("sari", "officer", VILLAGE);
    let files = Files::make(&field);
    let inside = field.data().join("copy");
    let invite = ["invite", "--role", "officer", "--name", "x", "--region"];
    let many: Vec<String> = (1..=40).map(|n| format!("{VILLAGE}/opd{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let many = [&invite[..], &many].concat();
    let person = "x".repeat(200);
    let region = |scope: &'static str| -> Vec<&'static str> { [&invite[..], &[scope]].concat() };
    let (thirteen, deep, agency, empty, word) = (
        region("13.0"),
        region("13.07.05.2001.1"),
        region("all/x"),
        region(""),
        region("Harau"),
    );
    let cases: &[Case<'_>] = &[
        (&[], "expected a command"),
        (&["serv"], "serve"),
        (&["invite"], "--role"),
        (
            &["invite", "--role", "king", "--region", "13", "--name", "x"],
            "officer",
        ),
        (&["invite", "--role", "officer", "--name", "x"], "--region"),
        (&["invite", "--role", "officer", "--region", "13"], "--name"),
        (
            &[
                "invite", "--role", "officer", "--region", "13", "--name", " ",
            ],
            "name",
        ),
        (
            &[
                "invite", "--role", "officer", "--region", "13", "--name", &person,
            ],
            "name",
        ),
        (&thirteen, "13.0"),
        (&deep, "13.07.05.2001.1"),
        (&agency, "all/x"),
        (&empty, "--region"),
        (&word, "Harau"),
        (&many, "grants"),
        (
            &[
                "invite",
                "--role",
                "officer",
                "--region",
                "13",
                "--name",
                "x",
                "--expires",
                "14m",
            ],
            "15m to 7d",
        ),
        (
            &[
                "invite",
                "--role",
                "officer",
                "--region",
                "13",
                "--name",
                "x",
                "--expires",
                "8d",
            ],
            "15m to 7d",
        ),
        (
            &[
                "invite",
                "--role",
                "officer",
                "--region",
                "13",
                "--name",
                "x",
                "--expires",
                "",
            ],
            "15m to 7d",
        ),
        (&["devices", "all"], "'all' is not expected"),
        (&["grant"], "<DEVICE>"),
        (&["grant", "nobody", "--role", "officer"], "--region"),
        (
            &["grant", "nobody", "--role", "officer", "--region", "13"],
            "nobody",
        ),
        (
            &["grant", "nobody", "--role", "king", "--region", "13"],
            "king",
        ),
        (
            &["grant", "nobody", "--role", "officer", "--region", "13.7"],
            "13.7",
        ),
        (
            &[
                "grant",
                "22222222222222222222222222222222222222222222",
                "--role",
                "officer",
                "--region",
                "13",
                "--remove",
            ],
            "device",
        ),
        (&["move", "--to", "13.71"], "<CODE>"),
        (&["move", "13.76/dinkes"], "--to"),
        (&["move", "13.76", "--to", "13.76"], "onto itself"),
        (&["move", "13.76", "--to", "13.76.01"], "higher level"),
        (&["move", "all", "--to", "13"], "all is not a unit"),
        (&["move", "13.76.01", "--to", "all"], "code of a region"),
        (&["revoke"], "<DEVICE>"),
        (&["revoke", "nobody"], "nobody"),
        (&["revoke", ""], "device"),
        (
            &["revoke", "22222222222222222222222222222222222222222222"],
            "names no device",
        ),
        (&["confirm"], "<DEVICE>"),
        (&["confirm", "nobody"], "nobody"),
        (
            &["confirm", "22222222222222222222222222222222222222222222"],
            "names no device",
        ),
        (&["import"], "expected a command"),
        (&["import", "regions"], "<FILE>"),
        (&["import", "regions", &files.missing], "missing"),
        (&["import", "regions", &files.folder], "folder"),
        // Neither has an end, and opening a pipe waits for one who writes.
        (&["import", "regions", &files.pipe], "not a file"),
        (&["import", "framework", &files.pipe], "not a file"),
        (&["import", "framework", "/dev/zero"], "not a file"),
        (&["serve", "--config", &files.pipe], "not a file"),
        (&["serve", "--config", "/dev/zero"], "not a file"),
        (&["import", "regions", &files.text], "text"),
        (&["import", "regions", &files.binary], "binary"),
        (&["import", "regions", &files.empty], "empty"),
        (&["import", "regions", &files.bad_regions], "bad_regions"),
        (&["import", "framework"], "<FILE>"),
        (&["import", "framework", &files.missing], "missing"),
        (&["import", "framework", &files.text], "text"),
        (&["import", "framework", &files.binary], "binary"),
        (&["import", "framework", &files.empty], "empty"),
        (&["import", "framework", &files.other_json], "other_json"),
        (
            &["revoke", "ab\u{1b}[31mcd\nef"],
            "'ab\u{fffd}[31mcd ef' names no device",
        ),
        (
            &["findings", "--acknowledge", "abc", "--note", "x"],
            "expected a record's number",
        ),
        (&["verify", "--deep"], "--deep"),
        (&["status", "now"], "'now' is not expected"),
        (&["backup"], "--to"),
        (
            &["backup", "--to", inside.to_str().unwrap()],
            "lies in the data folder",
        ),
        (
            &["backup", "--to", &files.folder_with_things],
            "expected an empty folder",
        ),
        (&["backup", "--to", &files.text], "text"),
        (&["restore"], "--from"),
        (&["rebuild", "--accept"], "--accept-loss"),
        (&["serve", "--listen", "nowhere"], "nowhere"),
        (&["serve", "--listen", "0.0.0.0:0"], "plain HTTP"),
        (&["serve", "--public-url", "bukti.example"], "https://"),
        (&["serve", "--config", &files.missing], "missing"),
        (&["serve", "--config", &files.text], "line 1"),
        (&["serve", "--config", &files.unknown_key], "listen_on"),
        (&["serve", "--log", "loud"], "info"),
    ];
    let before = (field.position(), State::of(&sari, &field));
    for (line, says) in cases {
        is_refused(line, says, &field.admin(line));
    }
    assert_eq!((field.position(), State::of(&sari, &field)), before);
    field.stop();
    for (line, says) in cases {
        is_refused(line, says, &field.admin(line));
    }
    assert_eq!(field.position(), before.0);
    field.verify();
}

#[test]
fn commands_on_a_folder_without_a_server_say_so_and_make_none() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("nothing");
    let from = folder.path().join("no-backup");
    let lines: [&[&str]; 9] = [
        &["devices"],
        &["status"],
        &["verify"],
        &["rebuild"],
        &["revoke", "somebody"],
        &[
            "invite", "--role", "officer", "--region", "13", "--name", "x",
        ],
        &["import", "framework", "x.json"],
        &["backup", "--to", "copy"],
        &["restore", "--from", from.to_str().unwrap()],
    ];
    for line in lines {
        is_refused(line, "", &server_command(&data, line));
        assert!(!data.join("journal").exists(), "{line:?}");
    }
    let file = folder.path().join("file");
    fs::write(&file, "text").unwrap();
    let from = ["restore", "--from", from.to_str().unwrap()];
    for line in [&["status"][..], &["serve"], &from] {
        is_refused(
            line,
            "is a file: expected the data folder",
            &server_command(&file, line),
        );
    }
    let homeless = run::<&str>("bukti-server", &["status"], &[]);
    is_refused(&["status"], "--data", &homeless);
    let variable = [("BUKTI_LISTEN", "here".to_owned())];
    let data = data.to_str().unwrap();
    let misled = run("bukti-server", &["serve", "--data", data], &variable);
    is_refused(&["serve"], "BUKTI_LISTEN", &misled);
    assert!(!Path::new(data).join("journal").exists());
}

#[test]
fn a_port_that_is_taken_founds_no_journal() {
    let folder = tempfile::tempdir().unwrap();
    let first = Server::start(&folder.path().join("first"), &[]);
    let second = folder.path().join("second");
    let taken = first.address().to_string();
    let refused = server_command(&second, &["serve", "--listen", &taken]);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(&taken), "{refused:?}");
    assert!(!second.join("journal").exists());
}

#[test]
fn a_device_that_is_not_enrolled_says_so_and_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let phone = Phone::new(&folder.path().join("phone"));
    let lines: [&[&str]; 7] = [
        &["status"],
        &["sync"],
        &["indicators"],
        &["conflicts"],
        &["evidence", "list"],
        &["evidence", "new", "--kind", "regulation", "--title", "x"],
        &["quarantine", "list"],
    ];
    for line in lines {
        let printed = phone.run(line);
        assert_eq!(printed.status, Some(1), "{printed:?}");
        assert_eq!(printed.stdout, "");
        assert_eq!(printed.stderr.lines().count(), 1, "{printed:?}");
        assert!(printed.stderr.contains("enrol"), "{printed:?}");
    }
    // What needs no device works without one.
    phone.run(&["kinds"]).ok();
}

#[test]
fn a_choice_that_was_listed_before_the_values_changed_is_refused() {
    let field = Field::open(&[]);
    let sari = field.phone("sari", "officer", VILLAGE);
    let budi = field.phone("budi", "officer", VILLAGE);
    let wati = field.phone("wati", "officer", VILLAGE);
    let id = new_evidence(&sari, "Perdes");
    sari.run(&["sync"]).ok();
    for phone in [&budi, &wati] {
        phone.run(&["sync"]).ok();
    }
    let renamed = |phone: &Phone, title: &str| {
        phone.run(&["evidence", "edit", &id, "--title", title]).ok();
    };
    renamed(&sari, "Perdes Satu");
    renamed(&budi, "Perdes Dua");
    renamed(&wati, "Perdes Tiga");
    budi.run(&["sync"]).ok();
    sari.run(&["sync"]).ok();
    let keep: &[&str] = &["resolve", &id, "title", "--keep", "1"];
    is_refused(keep, "not listed yet", &sari.run(keep));
    sari.run(&["conflicts", &id]).ok();
    wati.run(&["sync"]).ok();
    sari.run(&["sync"]).ok();
    is_refused(keep, "changed since they were listed", &sari.run(keep));
    let list = sari.run(&["conflicts", &id, "--json"]).ok().json();
    let values = list["conflicts"][0]["values"].as_array().unwrap();
    assert_eq!(values.len(), 3, "{list}");
    let beyond: &[&str] = &["resolve", &id, "title", "--keep", "4"];
    is_refused(beyond, "1 to 3", &sari.run(beyond));
    sari.run(keep).ok();
    let none = sari.run(&["conflicts", "--json"]).ok().json();
    assert_eq!(none["conflicts"].as_array().unwrap().len(), 0);
}

/// All that commands could have changed.
#[derive(Debug, PartialEq, Eq)]
struct State {
    list: String,
    quarantine: String,
    position: u64,
}

impl State {
    fn of(phone: &Phone, field: &Field) -> Self {
        let shown = |line: &[&str]| phone.run(line).ok().stdout;
        Self {
            list: shown(&["evidence", "list", "--json"]),
            quarantine: shown(&["quarantine", "list", "--json"]),
            position: field.position(),
        }
    }
}

/// Files that are not what commands expect.
struct Files {
    missing: String,
    nowhere: String,
    text: String,
    empty: String,
    binary: String,
    huge: String,
    folder: String,
    pipe: String,
    folder_with_things: String,
    bad_regions: String,
    other_json: String,
    unknown_key: String,
}

impl Files {
    fn make(field: &Field) -> Self {
        let path = |name: &str| field.path(name).to_str().unwrap().to_owned();
        let written = |name: &str, bytes: &[u8]| {
            fs::write(field.path(name), bytes).unwrap();
            path(name)
        };
        for folder in ["folder", "folder_with_things"] {
            fs::create_dir(field.path(folder)).unwrap();
        }
        written("folder_with_things/thing", b"mine");
        let may = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, field.path("pipe"), FileType::Fifo, may, 0).unwrap();
        Self {
            missing: path("missing"),
            nowhere: path("no/such/file"),
            text: written("text", b"a text of no use\n"),
            empty: written("empty", b""),
            binary: written("binary", &[0xff, 0xfe, 0x00, 0x80]),
            huge: written("huge", &vec![b'x'; 200_000]),
            folder: path("folder"),
            pipe: path("pipe"),
            folder_with_things: path("folder_with_things"),
            bad_regions: written("bad_regions", b"code,name\n13.07,Kabupaten\n1307,x\n"),
            other_json: written("other_json", b"{\"name\": 1}\n"),
            unknown_key: written("unknown_key", b"listen_on = \"127.0.0.1:1\"\n"),
        }
    }
}

/// The same link with one letter of its secret changed.
fn mistype(link: &str) -> String {
    let at = link.find('#').unwrap() + 3;
    let other = if &link[at..=at] == "3" { "4" } else { "3" };
    format!("{}{other}{}", &link[..at], &link[at + 1..])
}
