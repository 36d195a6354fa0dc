//! A field to test in: a server with a programme and places, and phones enrolled with it, all of
//! them real processes with folders of their own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bukti_tests::link::{Link, Proxy};
use bukti_tests::process::{Phone, Printed, Server, server_command};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A village and another one in the example regions.
pub(crate) const VILLAGE: &str = "13.07.05.2001";
pub(crate) const OTHER_VILLAGE: &str = "13.07.05.2002";
/// The regency of both.
pub(crate) const REGENCY: &str = "13.07";

/// As good as no link at all between device and server.
const LOOPBACK: Link = Link {
    bits_per_second: 10_000_000_000,
    round_trip: Duration::ZERO,
    cut_after: None,
};

/// The address that devices know, wherever the server listens after a restart.
pub(crate) struct Door {
    pub(crate) proxy: Proxy,
    _runtime: Runtime,
}

impl Door {
    pub(crate) fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let proxy = runtime.block_on(Proxy::start(nowhere, LOOPBACK)).unwrap();
        Self {
            proxy,
            _runtime: runtime,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.proxy.address())
    }
}

/// The server's folder is `server`, each phone's is called after it.
pub(crate) struct Field {
    folder: TempDir,
    server: Option<Server>,
}

impl Field {
    /// A server that serves, with nothing in it.
    pub(crate) fn empty(arguments: &[&str]) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), arguments)
    }

    fn in_folder(folder: TempDir, arguments: &[&str]) -> Self {
        let server = Server::start(&folder.path().join("server"), arguments);
        Self {
            folder,
            server: Some(server),
        }
    }

    /// A server that serves a programme and places where the system lets it have so many files and
    /// sockets open.
    pub(crate) fn open_within(descriptors: usize, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("server");
        let server = Server::start_within(descriptors, &data, arguments);
        let field = Self {
            folder,
            server: Some(server),
        };
        field.furnished()
    }

    /// A server that serves a programme and places.
    pub(crate) fn open(arguments: &[&str]) -> Self {
        Self::empty(arguments).furnished()
    }

    /// The same in a folder that the test chose.
    pub(crate) fn open_in(folder: TempDir, arguments: &[&str]) -> Self {
        Self::in_folder(folder, arguments).furnished()
    }

    fn furnished(self) -> Self {
        let field = self;
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core");
        let framework = repository.join("frameworks/desa-antikorupsi.json");
        let regions = repository.join("examples/regions.csv");
        field
            .admin(&["import", "framework", framework.to_str().unwrap()])
            .ok();
        field
            .admin(&["import", "regions", regions.to_str().unwrap()])
            .ok();
        field
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The server's folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.path("server")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server().address()
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("the server serves")
    }

    /// Stops the server in order; gives its log.
    pub(crate) fn stop(&mut self) -> String {
        let server = self.server.take().expect("the server serves");
        let (status, log) = server.stop();
        assert_eq!(status, Some(0), "{log}");
        log
    }

    /// Waits until the server ends by itself; gives its exit status and log.
    pub(crate) fn ended(&mut self) -> (Option<i32>, String) {
        self.server.take().expect("the server serves").wait()
    }

    pub(crate) fn kill(&mut self) {
        self.server.take().expect("the server serves").kill();
    }

    pub(crate) fn serve(&mut self, arguments: &[&str]) {
        assert!(self.server.is_none(), "the server serves already");
        self.server = Some(Server::start(&self.data(), arguments));
    }

    /// Runs a command of the server.
    pub(crate) fn admin(&self, arguments: &[&str]) -> Printed {
        server_command(&self.data(), arguments)
    }

    /// A link that enrols one device.
    pub(crate) fn invite(&self, role: &str, scope: &str, name: &str) -> String {
        let asked = self.admin(&[
            "invite", "--role", role, "--region", scope, "--name", name, "--json",
        ]);
        text(&asked.ok().json()["link"])
    }

    /// A phone in a folder of its own, enrolled and in sync.
    pub(crate) fn phone(&self, name: &str, role: &str, scope: &str) -> Phone {
        let phone = Phone::new(&self.path(name));
        phone.run(&["enrol", &self.invite(role, scope, name)]).ok();
        phone.run(&["sync"]).ok();
        phone
    }

    /// The position of the server's last record.
    pub(crate) fn position(&self) -> u64 {
        let status = self.admin(&["status", "--json"]).ok().json();
        status["position"].as_u64().unwrap()
    }

    /// Checks every byte of the journal.
    pub(crate) fn verify(&self) {
        self.admin(&["verify"]).ok();
    }
}

/// Starts a piece of evidence; gives its id.
pub(crate) fn new_evidence(phone: &Phone, title: &str) -> String {
    let made = phone.run(&[
        "evidence",
        "new",
        "--kind",
        "regulation",
        "--row",
        "I.1.3",
        "--title",
        title,
        "--json",
    ]);
    text(&made.ok().json()["id"])
}

/// What `evidence list` shows, by id.
pub(crate) fn listed(phone: &Phone) -> Vec<Value> {
    let list = phone.run(&["evidence", "list", "--json"]).ok().json();
    rows(&list, "evidence")
}

/// What waits in quarantine.
pub(crate) fn quarantined(phone: &Phone) -> Vec<Value> {
    let list = phone.run(&["quarantine", "list", "--json"]).ok().json();
    rows(&list, "quarantine")
}

/// A list, whether it is the document or under a key of it.
fn rows(document: &Value, key: &str) -> Vec<Value> {
    let list = document.as_array().or_else(|| document[key].as_array());
    list.unwrap_or_else(|| panic!("no list of {key} in {document}"))
        .clone()
}

pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value}"))
        .to_owned()
}
