//! A phone that holds many documents and a server that was put back to a copy from before the last
//! few: what finding and giving back these takes, with real processes and sockets.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::folder::{Making, VILLAGE, copy_folder};
use crate::process::{Phone, Server, server_command};
use crate::tap::{Counted, Tap};

/// Documents that the phone writes behind the copy: edited ones and new ones.
pub const DIFFERING: usize = EDITED + NEW;
const EDITED: usize = 4;
const NEW: usize = 3;

/// Bytes of comparing for each document that differs.
pub const BYTES_EACH_MAX: usize = 200;

/// Round trips until the server has what it lacks: finding it, and one to give it.
pub const ROUND_TRIPS_MAX: usize = 4;

/// What it took.
#[derive(Debug)]
pub struct Compared {
    /// All frames of the sync in which the server was given what it lacked.
    pub counted: Counted,
    /// Round trips to find what differs and to give it back.
    pub round_trips: usize,
    /// Runs that the server took.
    pub given: u64,
    /// How long that sync took.
    pub took: Duration,
    /// How long the phone took to get all documents first.
    pub first_took: Duration,
}

impl Compared {
    /// Whether it stayed within its bounds.
    pub fn is_within(&self) -> bool {
        self.round_trips <= ROUND_TRIPS_MAX
            && self.counted.comparing_bytes <= DIFFERING * BYTES_EACH_MAX
    }
}

/// Makes a server of so many documents in `folder`, has a phone hold them all, and puts the server
/// back to a copy from before the phone's last seven.
///
/// # Panics
/// If anything does not do what it is there for.
pub fn seven_that_differ(folder: &Path, documents: usize) -> Compared {
    let root = folder.join("server");
    let copy = folder.join("copy");
    let mut making = Making::found(&root);
    making.documents(documents - NEW);
    drop(making);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let tap = runtime.block_on(Tap::start(nowhere)).expect("a free port");
    let serve = || {
        let server = Server::start(&root, &["--public-url", &tap.url()]);
        tap.lead_to(server.address());
        server
    };
    let server = serve();
    let phone = enrolled(folder, &root);
    let started = Instant::now();
    sync(&phone);
    let first_took = started.elapsed();
    let held = ids(&phone);
    assert_eq!(held.len(), documents - NEW, "all are here");
    server.stop();
    copy_folder(&root, &copy);
    let server = serve();
    write(&phone, &held);
    sync(&phone);
    let shown = ids(&phone);
    server.kill();
    copy_folder(&copy, &root);
    let server = serve();
    tap.take();
    let started = Instant::now();
    let synced = sync(&phone);
    let took = started.elapsed();
    let counted = Counted::of(&tap.take());
    assert_eq!(ids(&phone), shown);
    let status = phone.run(&["status", "--json"]).ok().json();
    assert_eq!(status["differs"], Value::Array(Vec::new()), "{status}");
    let reply = phone.run(&["sync", "--json"]).ok().json();
    let again = (&reply["sent"], &reply["gave_back"]);
    assert_eq!(again, (&Value::from(0), &Value::from(0)), "{reply}");
    server.stop();
    Compared {
        counted,
        round_trips: counted.comparing_round_trips + 1,
        given: synced["gave_back"].as_u64().expect("a count"),
        took,
        first_took,
    }
}

fn enrolled(folder: &Path, root: &Path) -> Phone {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core");
    let import = |what: &str, file: PathBuf| {
        let file = file.to_str().expect("a path is text").to_owned();
        server_command(root, &["import", what, &file]).ok();
    };
    import(
        "framework",
        repository.join("frameworks/desa-antikorupsi.json"),
    );
    import("regions", repository.join("examples/regions.csv"));
    let invited = server_command(
        root,
        &[
            "invite", "--role", "officer", "--region", VILLAGE, "--name", "Sari", "--json",
        ],
    );
    let invited = invited.ok().json();
    let phone = Phone::new(&folder.join("sari"));
    phone
        .run(&["enrol", invited["link"].as_str().expect("a link")])
        .ok();
    phone
}

fn sync(phone: &Phone) -> Value {
    let synced = phone.run(&["sync", "--json"]).ok().json();
    assert_eq!(synced["up_to_date"], true, "{synced}");
    synced
}

/// One run each: edits of documents that are there, and new ones.
fn write(phone: &Phone, held: &[String]) {
    for number in 0..EDITED {
        let id = &held[number * held.len() / EDITED];
        phone
            .run(&["evidence", "edit", id, "--title", "Diubah"])
            .ok();
    }
    for number in 0..NEW {
        let title = format!("Baru {number}");
        phone
            .run(&[
                "evidence",
                "new",
                "--kind",
                "regulation",
                "--row",
                "I.1.3",
                "--title",
                &title,
            ])
            .ok();
    }
}

fn ids(phone: &Phone) -> Vec<String> {
    let list = phone.run(&["evidence", "list", "--json"]).ok().json();
    let rows = list.as_array().or_else(|| list["evidence"].as_array());
    let rows = rows.expect("a list").iter();
    rows.map(|row| row["id"].as_str().expect("an id").to_owned())
        .collect()
}
