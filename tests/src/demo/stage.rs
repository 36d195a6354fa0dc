//! What the story is played with: one server, three devices, and a link for each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bukti_core::framework;
use bukti_core::region;
use bukti_sync_protocol::link::InvitationLink;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::Stopped;
use crate::link::{Link, Proxy, Traffic};
use crate::process::{Phone, Printed, Server, server_command};

/// The framework that the villages are assessed by.
const FRAMEWORK: &str = "desa-antikorupsi.json";

/// The link of the town, where the devices are enrolled.
pub const TOWN: Link = Link {
    bits_per_second: 10_000_000,
    round_trip: Duration::from_millis(40),
    cut_after: None,
};

/// When a sync over the bad link gives up.
const SYNC_SECONDS_MAX: &str = "120";

/// How often a process that works is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A person with a device and the link it has.
#[derive(Debug)]
pub struct Person {
    /// As invited.
    pub name: &'static str,
    /// The device.
    pub phone: Phone,
    proxy: Proxy,
}

impl Person {
    /// What went over this device's link so far.
    pub fn traffic(&self) -> &Traffic {
        self.proxy.traffic()
    }
}

/// A role on a region, as the server's command takes it.
#[derive(Debug, Clone, Copy)]
pub struct Grant {
    /// Such as `officer`.
    pub role: &'static str,
    /// Such as `13.07.05.2001`.
    pub region: &'static str,
}

/// The folder with everything in it, and who is on.
#[derive(Debug)]
pub struct Stage {
    runtime: Handle,
    interrupted: Arc<AtomicBool>,
    server: Option<Server>,
    people: Vec<Person>,
    // Last, so that it goes when nobody writes in it any more.
    folder: TempDir,
}

impl Stage {
    /// An empty folder with the files to import.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(runtime: Handle, interrupted: Arc<AtomicBool>) -> Result<Self, Stopped> {
        let folder = tempfile::Builder::new()
            .prefix("bukti-demo-")
            .tempdir()
            .map_err(|error| Stopped(format!("cannot make a folder for the demo: {error}")))?;
        let stage = Self {
            runtime,
            interrupted,
            server: None,
            people: Vec::new(),
            folder,
        };
        let villages = framework::built_in()
            .into_iter()
            .find(|(name, _)| *name == FRAMEWORK);
        let (name, bytes) = villages.expect("the framework of the villages is built in");
        stage.write(name, bytes)?;
        stage.write("regions.csv", region::example_csv())?;
        Ok(stage)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's data folder.
    pub fn server_data(&self) -> PathBuf {
        self.folder().join("server")
    }

    /// The framework's file.
    pub fn framework_file(&self) -> PathBuf {
        self.folder().join(FRAMEWORK)
    }

    /// The regions' file.
    pub fn regions_file(&self) -> PathBuf {
        self.folder().join("regions.csv")
    }

    /// Writes a file into the folder.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, Stopped> {
        let path = self.folder().join(name);
        fs::write(&path, content)
            .map_err(|error| Stopped(format!("cannot write {}: {error}", path.display())))?;
        Ok(path)
    }

    /// The running server.
    ///
    /// # Panics
    /// If there is none: the story starts it first.
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("the story started the server")
    }

    /// Starts the server, or starts it again; all links lead there from then on.
    ///
    /// # Errors
    /// Its log, if it does not listen.
    pub fn start_server(&mut self) -> Result<(), Stopped> {
        let started = Server::try_start(&self.server_data(), &[]).map_err(Stopped)?;
        for person in &self.people {
            person.proxy.lead_to(started.address());
        }
        self.server = Some(started);
        Ok(())
    }

    /// Kills the server as a power cut would.
    pub fn kill_server(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// Asks the server to end in order.
    ///
    /// # Errors
    /// Its log, if it ended with another status than 0.
    pub fn stop_server(&mut self) -> Result<(), Stopped> {
        match self.server.take().map(Server::stop) {
            None | Some((Some(0), _)) => Ok(()),
            Some((status, log)) => {
                Err(Stopped(format!("the server ended with {status:?}:\n{log}")))
            }
        }
    }

    /// Ends everything that runs and leaves the folder.
    pub fn keep_folder(self) -> PathBuf {
        self.folder.keep()
    }

    /// Removes the folder, which no process uses any more.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove_folder(self) -> io::Result<()> {
        self.folder.close()
    }

    /// Invites a person and enrols a device over a link of its own; gives the person's number.
    ///
    /// # Errors
    /// What a command said, or that a port could not be had.
    pub fn enrol(
        &mut self,
        name: &'static str,
        grant: Grant,
        clock_skew_ms: i64,
    ) -> Result<usize, Stopped> {
        let proxy = self
            .runtime
            .block_on(Proxy::start(self.server().address(), TOWN))
            .map_err(|error| Stopped(format!("cannot make a link for {name}: {error}")))?;
        let invited = self.server_json(&[
            "invite",
            "--role",
            grant.role,
            "--region",
            grant.region,
            "--name",
            name,
        ])?;
        let text = invited["link"].as_str().unwrap_or_default();
        let link: InvitationLink = text
            .parse()
            .map_err(|error| Stopped(format!("the invitation '{text}' cannot be read: {error}")))?;
        let link = InvitationLink {
            url: format!("http://{}", proxy.address()),
            ..link
        };
        let data = self.folder().join(name.to_lowercase());
        let phone = Phone::new(&data).with_clock_skew(clock_skew_ms);
        let person = Person { name, phone, proxy };
        self.people.push(person);
        let number = self.people.len() - 1;
        self.bukti(number, &["enrol", &link.to_string()])?;
        Ok(number)
    }

    /// A person by number.
    pub fn person(&self, number: usize) -> &Person {
        &self.people[number]
    }

    /// Everybody, in the order of enrolment.
    pub fn people(&self) -> &[Person] {
        &self.people
    }

    /// Carries all devices to where the link is another.
    pub fn go_where(&self, link: Link) {
        for person in &self.people {
            person.proxy.use_link(link);
        }
    }

    /// Runs `bukti … --json` as a person, which must succeed.
    ///
    /// # Errors
    /// What it printed.
    pub fn bukti(&self, person: usize, arguments: &[&str]) -> Result<Value, Stopped> {
        self.go_on()?;
        let person = self.person(person);
        let printed = person.phone.run(&with_json(arguments));
        answer(
            &format!("{}: bukti {}", person.name, arguments.join(" ")),
            &printed,
        )
    }

    /// Runs `bukti …` as a person, however it ends.
    ///
    /// # Errors
    /// The demo was interrupted.
    pub fn bukti_printed(&self, person: usize, arguments: &[&str]) -> Result<Printed, Stopped> {
        self.go_on()?;
        Ok(self.person(person).phone.run(arguments))
    }

    /// Starts `bukti sync` as a person and does not wait.
    ///
    /// # Errors
    /// The demo was interrupted.
    pub fn begin_sync(&self, person: usize) -> Result<Syncing, Stopped> {
        self.go_on()?;
        let child =
            self.person(person)
                .phone
                .spawn(&["sync", "--json", "--timeout", SYNC_SECONDS_MAX]);
        Ok(Syncing {
            person,
            name: self.person(person).name,
            child: Some(child),
        })
    }

    /// Runs `bukti-server … --json`, which must succeed.
    ///
    /// # Errors
    /// What it printed.
    pub fn server_json(&self, arguments: &[&str]) -> Result<Value, Stopped> {
        self.go_on()?;
        let printed = server_command(&self.server_data(), &with_json(arguments));
        answer(&format!("bukti-server {}", arguments.join(" ")), &printed)
    }

    /// Waits a moment while others work.
    ///
    /// # Errors
    /// The demo was interrupted.
    pub fn wait_a_moment(&self) -> Result<(), Stopped> {
        self.runtime.block_on(tokio::time::sleep(LOOK_EVERY));
        self.go_on()
    }

    fn go_on(&self) -> Result<(), Stopped> {
        match self.interrupted.load(Ordering::Relaxed) {
            true => Err(Stopped("interrupted".into())),
            false => Ok(()),
        }
    }
}

/// A sync that runs; it is killed when dropped.
#[derive(Debug)]
pub struct Syncing {
    /// Who syncs.
    pub person: usize,
    name: &'static str,
    child: Option<Child>,
}

impl Syncing {
    /// Its answer, once it has ended.
    ///
    /// # Errors
    /// What it printed, if it failed.
    pub fn ended(&mut self) -> Result<Option<Value>, Stopped> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let watch = |error: io::Error| Stopped(format!("cannot watch a sync: {error}"));
        if child.try_wait().map_err(watch)?.is_none() {
            return Ok(None);
        }
        let child = self.child.take().expect("it was just looked at");
        let output = child.wait_with_output().map_err(watch)?;
        let printed = Printed {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: output.status.code(),
        };
        answer(&format!("{}: bukti sync", self.name), &printed).map(Some)
    }

    /// Whether it still works.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }
}

impl Drop for Syncing {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn with_json<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut all = arguments.to_vec();
    all.push("--json");
    all
}

fn answer(command: &str, printed: &Printed) -> Result<Value, Stopped> {
    let stopped = |what: String| {
        let said = match printed.stderr.trim() {
            "" => printed.stdout.trim(),
            stderr => stderr,
        };
        Stopped(format!("{command}: {what}\n{said}"))
    };
    match printed.status {
        Some(0) => serde_json::from_str(&printed.stdout)
            .map_err(|error| stopped(format!("its answer is no JSON: {error}"))),
        Some(status) => Err(stopped(format!("ended with status {status}"))),
        None => Err(stopped("ended by a signal".into())),
    }
}
