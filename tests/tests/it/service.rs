//! A server's life as its administrator sees it: first start, commands while it serves and while
//! it does not, invitations, revocation, backup, the end.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bukti_core::authority::{Grant, Role};
use bukti_core::record::{Invitation, invitation_hash};
use bukti_server::config::Config;
use bukti_server::folder::Folder;
use bukti_server::metrics::Metrics;
use bukti_sync_protocol::link::InvitationLink;
use bukti_tests::process::{Phone, Printed, Server, binary, server_command};
use ed25519_dalek::SigningKey;
use serde_json::Value;

use crate::field::{Field, REGENCY, VILLAGE, listed, new_evidence, quarantined, text};
use bukti_tests::wire::{Heard, Wire};

/// Bounds a failure; nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn one_line(printed: &Printed, status: i32, says: &str) {
    assert_eq!(printed.status, Some(status), "{printed:?}");
    assert_eq!(printed.stdout, "", "{printed:?}");
    assert_eq!(printed.stderr.lines().count(), 1, "{printed:?}");
    assert!(printed.stderr.contains(says), "'{says}' in {printed:?}");
}

#[test]
fn the_first_start_invites_an_administrator_where_only_the_owner_can_read_it() {
    let mut field = Field::empty(&[]);
    let path = field.data().join("administrator.invitation");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = fs::metadata(field.data().join("server.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let folder = fs::metadata(field.data()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);

    let link = fs::read_to_string(&path).unwrap();
    let administrator = Phone::new(&field.path("administrator"));
    administrator.run(&["enrol", link.trim()]).ok();
    let said = field.stop();
    assert!(said.contains(path.to_str().unwrap()), "{said}");
    assert!(!said.contains(link.trim()), "the link is no line of a log");

    field.serve(&[]);
    let again = field.stop();
    assert!(!again.contains("administrator.invitation"), "{again}");
}

#[test]
fn serve_prints_one_line_and_ends_in_order_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut serving = Command::new(binary("bukti-server"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path().join("server"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map(Running)
        .unwrap();
    let mut stdout = BufReader::new(serving.0.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.starts_with("listening on http://127.0.0.1:"), "{line}");
    terminate(&serving.0);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert_eq!(serving.0.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn at_the_end_of_a_server_sessions_hear_so_and_work_is_kept() {
    let mut field = Field::open(&[]);
    let sari = field.phone("sari", "officer", VILLAGE);
    let watching = Watching::begin(&sari);
    let mut wire = Wire::open(field.address()).await;
    field.stop();
    let code = loop {
        match wire.hear().await {
            Heard::Frame(_) => {}
            Heard::Closed(code) => break code,
        }
    };
    assert_eq!(code, Some(1001));
    // Who watches goes on watching, and takes commands, with nobody there.
    let id = new_evidence(&sari, "Tanpa server");
    terminate(&watching.child.0);
    assert_eq!(watching.ended(), Some(0));
    assert_eq!(listed(&sari).len(), 1);

    let offline = sari.run(&["sync", "--timeout", "5"]);
    assert_eq!(offline.status, Some(3), "{offline:?}");
    assert_eq!(offline.stderr.lines().count(), 1, "{offline:?}");
    assert_eq!(text(&listed(&sari)[0]["id"]), id);
    assert_ne!(listed(&sari)[0]["delivery"]["state"], "received");
}

/// Such as a terminal that somebody stopped.
#[test]
fn a_watch_whose_reader_stops_takes_commands_and_ends_when_it_is_asked_to() {
    let field = Field::open(&[]);
    let sari = field.phone("sari", "officer", VILLAGE);
    let (_unread, full) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    for lines in [&[b'\n'; 4096][..], b"\n"] {
        while (&full).write(lines).is_ok() {}
    }
    full.set_nonblocking(false).unwrap();
    let stdout = Stdio::from(OwnedFd::from(full));
    let mut watching = Running(sari.spawn_into(stdout, &["sync", "--watch", "--json"]));
    let until = Instant::now() + PATIENCE;
    while !field.path("sari").join("control.sock").exists() {
        assert!(Instant::now() < until, "it does not begin");
        std::thread::yield_now();
    }
    new_evidence(&sari, "Papan");
    let synced = sari.run(&["sync", "--json"]).ok().json();
    assert_eq!(synced["up_to_date"], true, "{synced}");
    terminate(&watching.0);
    let ended = loop {
        if let Some(ended) = watching.0.try_wait().unwrap() {
            break ended;
        }
        assert!(Instant::now() < until, "it goes on");
        std::thread::yield_now();
    };
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn a_second_server_on_the_folder_refuses_and_names_the_first() {
    let mut field = Field::empty(&[]);
    let pid = field.server().pid().to_string();
    let second = server_command(&field.data(), &["serve", "--listen", "127.0.0.1:0"]);
    one_line(&second, 1, &pid);
    field.verify();
    field.stop();
}

#[test]
fn a_server_that_was_killed_serves_again_at_once() {
    let mut field = Field::open(&[]);
    let sari = field.phone("sari", "officer", VILLAGE);
    new_evidence(&sari, "Perdes");
    let before = field.position();
    field.kill();
    let offline = field.admin(&["status", "--json"]).ok().json();
    assert_eq!(offline["position"], before);
    field.serve(&[]);
    assert_eq!(field.position(), before);
    field.verify();
}

#[test]
fn an_invitation_that_cannot_be_used_says_which() {
    let field = Field::open(&[]);
    let link = field.invite("officer", VILLAGE, "Sari");
    let sari = Phone::new(&field.path("sari"));
    sari.run(&["enrol", &link]).ok();
    // A cut after the server wrote it down must cost nothing to the device that used it.
    sari.run(&["enrol", &link]).ok();
    let thief = Phone::new(&field.path("thief"));
    let used = thief.run(&["enrol", &link]);
    assert!(used.stderr.contains("used"), "{used:?}");

    let mut unknown: InvitationLink = link.parse().unwrap();
    unknown.secret[0] ^= 1;
    let unknown = thief.run(&["enrol", &unknown.to_string()]);
    assert!(
        unknown.stderr.contains("not known") || unknown.stderr.contains("unknown"),
        "{unknown:?}"
    );

    let mut elsewhere: InvitationLink = link.parse().unwrap();
    elsewhere.server.0 = SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes();
    let elsewhere = thief.run(&["enrol", &elsewhere.to_string()]);

    let (_past, link) = server_of_the_past(&field);
    let expired = thief.run(&["enrol", &link]);
    assert!(expired.stderr.contains("expired"), "{expired:?}");
    for refused in [used, unknown, elsewhere, expired] {
        assert!(matches!(refused.status, Some(1 | 2)), "{refused:?}");
        assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
        assert_eq!(refused.stdout, "");
    }
    assert_eq!(thief.run(&["status"]).status, Some(1));
}

/// Another server that serves, and an invitation of it that ran out long ago.
fn server_of_the_past(field: &Field) -> (Server, String) {
    let data = field.path("server-of-the-past");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    let secret = [5; 16];
    let long_ago = 1_600_000_000_000;
    let config = Config::default();
    let metrics = Metrics::default();
    let mut started = Folder::new(&data)
        .open(None, Some(long_ago), &config, &metrics, &mut |_| {})
        .unwrap();
    let invitation = Invitation {
        hash: invitation_hash(&secret),
        person: "Terlambat".into(),
        grants: vec![Grant {
            role: Role::Officer,
            scope: VILLAGE.parse().unwrap(),
        }],
        expires_at: long_ago + 900_000,
    };
    started.ledger.invite(long_ago, invitation).unwrap();
    let server = started.key.verifying_key().to_bytes();
    drop(started);
    let serving = Server::start(&data, &[]);
    let link = InvitationLink {
        url: format!("http://{}", serving.address()),
        secret,
        server: bukti_core::id::ServerId(server),
    };
    (serving, link.to_string())
}

#[test]
fn commands_say_the_same_while_a_server_serves_and_while_none_does() {
    let mut field = Field::open(&[]);
    let sari = field.phone("sari", "officer", VILLAGE);
    new_evidence(&sari, "Perdes");
    sari.run(&["sync"]).ok();
    field.invite("verifier", REGENCY, "Open");
    let asked: [&[&str]; 6] = [
        &["devices", "--json"],
        &["devices"],
        &["verify", "--json"],
        &["verify"],
        &["status", "--json"],
        &["revoke", "nobody-here"],
    ];
    let ask = |field: &Field| -> Vec<String> {
        let answers = asked.iter().map(|command| field.admin(command));
        answers
            .map(|printed| {
                let mut document = serde_json::from_str::<Value>(&printed.stdout);
                if let Ok(Value::Object(document)) = &mut document {
                    document.remove("serving");
                    // Only a server that serves scrubs its journal.
                    document.remove("scrub");
                    // Or takes connections.
                    document.remove("connections");
                    // Others write to the same disk.
                    document.remove("disk_free_bytes");
                }
                let stdout = document.map_or(printed.stdout, |document| document.to_string());
                format!("{:?} {stdout} {}", printed.status, printed.stderr)
            })
            .collect()
    };
    let serving = ask(&field);
    field.stop();
    assert_eq!(ask(&field), serving);

    // What changes something works on a stopped server, too.
    let link = field.invite("officer", VILLAGE, "Budi");
    let regions = field.path("regions.csv");
    fs::write(&regions, "code,name\n14,Riau\n14.01,Kampar\n").unwrap();
    let regions = regions.to_str().unwrap();
    let imported = field.admin(&["import", "regions", regions, "--json"]).ok();
    assert_eq!(imported.json()["regions"], 2);
    let device = device_of(&field, "sari");
    field.admin(&["revoke", &device[..8]]).ok();
    field
        .admin(&["backup", "--to", field.path("copy").to_str().unwrap()])
        .ok();
    let position = field.position();
    let address = link
        .split("http://")
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    drop(link);

    field.serve(&[]);
    assert_eq!(field.position(), position);
    assert_ne!(field.address().to_string(), address, "a port is taken anew");
    let devices = field.admin(&["devices", "--json"]).ok().json();
    assert!(devices["devices"][0]["revoked_at"].is_number(), "{devices}");
    assert_eq!(devices["invitations"].as_array().unwrap().len(), 3);
    field.verify();
}

#[test]
fn what_needs_the_folder_to_itself_says_so() {
    let mut field = Field::open(&[]);
    let sari = field.phone("sari", "officer", VILLAGE);
    new_evidence(&sari, "Perdes");
    sari.run(&["sync"]).ok();
    let copy = field.path("copy");
    let copy = copy.to_str().unwrap();
    field.admin(&["backup", "--to", copy]).ok();
    let before = field.position();
    one_line(&field.admin(&["rebuild"]), 1, "stop the server first");
    one_line(
        &field.admin(&["restore", "--from", copy]),
        1,
        "stop the server first",
    );
    assert_eq!(field.position(), before);
    field.stop();
    field.admin(&["rebuild"]).ok();
    assert_eq!(field.position(), before);
    field.verify();
    let held = field.admin(&["restore", "--from", copy]);
    one_line(&held, 2, "holds a server already");
    assert_eq!(field.position(), before);
}

#[test]
fn a_backup_comes_back_with_the_key_and_not_without_it() {
    let mut field = Field::open(&[]);
    let sari = field.phone("sari", "officer", VILLAGE);
    let id = new_evidence(&sari, "Perdes");
    sari.run(&["sync"]).ok();
    let copy = field.path("copy");
    let copy = copy.to_str().unwrap();
    field.admin(&["backup", "--to", copy]).ok();
    let backed_up = field.position();
    let late = new_evidence(&sari, "Setelah cadangan");
    sari.run(&["sync"]).ok();
    // Onto the same backup only what is new goes.
    let again = field.admin(&["backup", "--to", copy, "--json"]).ok().json();
    assert!(again["position"].as_u64().unwrap() > backed_up, "{again}");
    field.stop();

    let restored = field.path("restored");
    let other_key = field.path("other.key");
    let other = tempfile::tempdir().unwrap();
    let server = Server::start(&other.path().join("server"), &[]);
    fs::copy(server.data().join("server.key"), &other_key).unwrap();
    let missing_key = field.path("no.key");
    for (key, says) in [(&missing_key, "no.key"), (&other_key, "key")] {
        let refused = server_command(
            &restored,
            &["restore", "--from", copy, "--key", key.to_str().unwrap()],
        );
        one_line(&refused, 2, says);
        assert!(is_untouched(&restored), "{refused:?}");
    }
    let keyless = server_command(&restored, &["restore", "--from", copy]);
    one_line(&keyless, 2, "key");
    assert!(is_untouched(&restored));

    let key = field.data().join("server.key");
    let key = key.to_str().unwrap();
    server_command(&restored, &["restore", "--from", copy, "--key", key]).ok();
    server_command(&restored, &["verify"]).ok();
    let status = server_command(&restored, &["status", "--json"]).ok().json();
    // The restore itself is the one record more.
    let backed_up = again["position"].as_u64().unwrap();
    assert_eq!(status["position"].as_u64().unwrap(), backed_up + 1);
    assert_eq!(status["documents"], 2);
    assert_eq!(status["url_known_by"], "default");
    // Nobody said yet where this one is reached.
    let invite = [
        "invite", "--role", "officer", "--region", "all", "--name", "x",
    ];
    let invited = server_command(&restored, &invite).ok().stdout;
    assert!(
        invited.contains("It leads to the default address"),
        "{invited}"
    );
    let config = field.path("public.toml");
    fs::write(&config, "public_url = 'https://bukti.example'\n").unwrap();
    let configured = [&invite[..], &["--config", config.to_str().unwrap()]].concat();
    let invited = server_command(&restored, &configured).ok().stdout;
    assert!(invited.starts_with("https://bukti.example/"), "{invited}");
    assert!(!invited.contains("default"), "{invited}");
    let titles: Vec<String> = listed(&sari).iter().map(|row| text(&row["id"])).collect();
    assert!(titles.contains(&id) && titles.contains(&late));
}

#[test]
fn a_key_that_lies_elsewhere_is_found_again_and_a_wrong_one_is_not_remembered() {
    let keys = tempfile::tempdir().unwrap();
    let path = |name: &str| keys.path().join(name).to_str().unwrap().to_owned();
    let mut field = Field::empty(&["--key", &path("right.key")]);
    field.stop();
    field.verify();
    let mut other = Field::empty(&["--key", &path("wrong.key")]);
    other.stop();

    let wrong = path("wrong.key");
    let listen = ["serve", "--listen", "127.0.0.1:0", "--key", &wrong];
    let refused = field.admin(&listen);
    assert!(matches!(refused.status, Some(1 | 2)), "{refused:?}");
    assert!(refused.stderr.contains("key"), "{refused:?}");
    field.verify();
    field.serve(&[]);
    field.verify();
}

/// Whether a folder holds nothing but what taking hold of it leaves.
fn is_untouched(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return true;
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.into_iter().all(|name| name == "lock")
}

#[test]
fn output_that_cannot_be_written_is_told_on_standard_error() {
    let field = Field::empty(&[]);
    for (program, rest) in [
        (
            "bukti-server",
            &[
                "invite", "--role", "officer", "--region", "13", "--name", "Sari",
            ][..],
        ),
        ("bukti-server", &["--help"]),
        ("bukti", &["--version"]),
    ] {
        let output = Command::new(binary(program))
            .args(rest)
            .arg("--data")
            .arg(field.data())
            .stdout(
                fs::OpenOptions::new()
                    .write(true)
                    .open("/dev/full")
                    .unwrap(),
            )
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.starts_with("cannot write the output: "),
            "{program}: {stderr}"
        );
        assert!(stderr.contains("carried out"), "{stderr}");
    }
}

#[test]
fn revocation_ends_a_live_session_at_once_and_later_work_is_quarantined() {
    let field = Field::open(&[]);
    let lost = field.phone("lost", "officer", VILLAGE);
    let other = field.phone("other", "officer", VILLAGE);
    let kept = new_evidence(&lost, "Sebelum dicabut");
    lost.run(&["sync"]).ok();
    let watching = Watching::begin(&lost);
    field.admin(&["revoke", &device_of(&field, "lost")]).ok();
    let status = watching.ended();
    assert!(matches!(status, Some(1)), "{status:?}");

    let late = new_evidence(&lost, "Setelah dicabut");
    let edited = lost
        .run(&["evidence", "edit", &late, "--title", "Setelahnya"])
        .ok()
        .stdout;
    assert!(
        edited.contains("the server revoked it and takes nothing"),
        "{edited}"
    );
    let refused = lost.run(&["sync"]);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("revoked"), "{refused:?}");
    let quarantine = quarantined(&lost);
    assert_eq!(quarantine.len(), 2, "{quarantine:?}");
    for entry in &quarantine {
        assert_eq!(entry["code"], "revoked");
        assert_eq!(text(&entry["document"]), late);
    }
    let told = lost.run(&["quarantine", "list"]).ok().stdout;
    assert!(told.contains("entered again stay on it"), "{told}");
    let status = lost.run(&["status"]).ok().stdout;
    let evidence = "1, 1 with every edit on the server";
    assert!(status.contains(evidence), "{status}");

    other.run(&["sync"]).ok();
    let seen: Vec<String> = listed(&other).iter().map(|row| text(&row["id"])).collect();
    assert_eq!(seen, [kept]);
    field.verify();
}

#[test]
fn work_refused_under_other_grants_is_entered_again_under_the_old_ones() {
    let field = Field::open(&[]);
    let sari = field.phone("sari", "officer", VILLAGE);
    let shared = new_evidence(&sari, "Perdes");
    sari.run(&["sync"]).ok();
    sari.run(&["evidence", "edit", &shared, "--title", "Perdes APBDes"])
        .ok();
    // The person looks only, from here on, and what was not sent yet came too late.
    let observer = field.invite("observer", REGENCY, "sari");
    sari.run(&["enrol", &observer]).ok();
    sari.run(&["sync"]).ok();
    let refused = quarantined(&sari);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0]["code"], "forbidden");

    let officer = field.invite("officer", VILLAGE, "sari");
    sari.run(&["enrol", &officer]).ok();
    sari.run(&["sync"]).ok();
    sari.run(&["quarantine", "reenter", "1"]).ok();
    sari.run(&["sync"]).ok();
    let budi = field.phone("budi", "officer", VILLAGE);
    budi.run(&["sync"]).ok();
    let shown = budi.run(&["evidence", "show", &shared, "--json"]).ok();
    assert_eq!(shown.json()["title"], "Perdes APBDes");
    field.verify();
}

#[test]
fn every_command_prints_one_json_document_when_asked() {
    let mut field = Field::open(&[]);
    let sari = field.phone("sari", "officer", VILLAGE);
    let id = new_evidence(&sari, "Perdes");
    let link = field.invite("officer", VILLAGE, "sari");
    let export = field.path("export.json");
    let lines: [&[&str]; 19] = [
        &["enrol", &link],
        &["kinds"],
        &["kinds", "regulation"],
        &["indicators"],
        &["indicators", "I.1"],
        &["evidence", "edit", &id, "--set", "year=2025"],
        &["evidence", "ready", &id],
        &["evidence", "draft", &id],
        &["evidence", "withdraw", &id, "--reason", "Salah"],
        &["evidence", "list"],
        &["evidence", "show", &id],
        &["evidence", "history", &id],
        &["conflicts"],
        &["conflicts", &id],
        &["sync"],
        &["status"],
        &["quarantine", "list"],
        &["quarantine", "export", export.to_str().unwrap()],
        &[
            "evidence",
            "new",
            "--kind",
            "regulation",
            "--title",
            "x",
            "--row",
            "I.1.3",
        ],
    ];
    for line in lines {
        is_one_document(&sari.run(&[line, &["--json"]].concat()));
    }

    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core");
    let framework = core.join("frameworks/desa-antikorupsi.json");
    let regions = core.join("examples/regions.csv");
    let copy = field.path("copy");
    let device = device_of(&field, "sari");
    let lines: [&[&str]; 8] = [
        &[
            "invite", "--role", "officer", "--region", VILLAGE, "--name", "x",
        ],
        &["import", "framework", framework.to_str().unwrap()],
        &["import", "regions", regions.to_str().unwrap()],
        &["devices"],
        &["status"],
        &["verify"],
        &["backup", "--to", copy.to_str().unwrap()],
        &["revoke", &device],
    ];
    for line in lines {
        is_one_document(&field.admin(&[line, &["--json"]].concat()));
    }
    field.stop();
    is_one_document(&field.admin(&["rebuild", "--json"]));
    let key = field.data().join("server.key");
    let restore = [
        "restore",
        "--from",
        copy.to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
        "--json",
    ];
    is_one_document(&server_command(&field.path("restored"), &restore));
}

fn is_one_document(printed: &Printed) {
    assert_eq!(printed.status, Some(0), "{printed:?}");
    assert_eq!(printed.stderr, "", "{printed:?}");
    let document = serde_json::from_str::<Value>(&printed.stdout);
    assert!(document.is_ok(), "{printed:?}");
}

/// The id of the device that was invited as `person`.
fn device_of(field: &Field, person: &str) -> String {
    let devices = field.admin(&["devices", "--json"]).ok().json();
    let devices = devices["devices"].as_array().unwrap();
    let device = devices.iter().find(|device| device["person"] == person);
    text(&device.unwrap()["device"])
}

fn terminate(child: &Child) {
    let asked = Command::new("kill").arg(child.id().to_string()).status();
    assert!(asked.unwrap().success());
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A phone in `sync --watch`.
struct Watching {
    child: Running,
    lines: Receiver<String>,
}

impl Watching {
    /// Starts it, and waits until it is up to date.
    fn begin(phone: &Phone) -> Self {
        let mut child = Running(phone.spawn(&["sync", "--watch", "--json"]));
        let stdout = child.0.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let watching = Self { child, lines };
        loop {
            let line = watching.lines.recv_timeout(PATIENCE).unwrap();
            let said: Value = serde_json::from_str(&line).unwrap();
            if said["event"] == "up_to_date" {
                return watching;
            }
        }
    }

    /// Waits for its end; gives its exit status.
    fn ended(mut self) -> Option<i32> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it goes on"),
            }
        }
        self.child.0.wait().unwrap().code()
    }
}
