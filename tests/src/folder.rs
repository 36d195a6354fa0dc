//! Data folders of any size, made by the ledger itself without a network, and copies of them.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use bukti_core::authority::Role;
use bukti_core::evidence::Edit;
use bukti_core::id::{DocumentId, JournalId, ServerId};
use bukti_core::ledger::Submission;
use bukti_core::ledger::testing::{NOW, Phone, enrol};
use bukti_core::validate::CheckedRun;
use bukti_server::accepting::Ledger;
use bukti_server::config::Config;
use bukti_server::folder::Folder;
use bukti_server::metrics::Metrics;
use bukti_sync_protocol::token::TokenKey;

/// Documents that one device may create in a day; the folders here are made in one.
pub const DOCUMENTS_PER_PHONE: usize = bukti_core::limits::DEVICE_DOCUMENTS_PER_DAY as usize;

/// Where everybody writes.
pub const VILLAGE: &str = "13.07.05.2001";

/// A folder under construction.
#[derive(Debug)]
pub struct Making {
    ledger: Ledger,
    tokens: TokenKey,
    phones: u64,
}

impl Making {
    /// Founds a journal.
    ///
    /// # Panics
    /// If the folder exists or cannot be made.
    pub fn found(root: &Path) -> Self {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(root)
            .expect("a new folder");
        Self::open(root, 0)
    }

    /// Goes on with a folder whose server was stopped; `phones` were enrolled in it by this before.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub fn go_on(root: &Path, phones: u64) -> Self {
        Self::open(root, phones)
    }

    fn open(root: &Path, phones: u64) -> Self {
        let folder = Folder::new(root);
        let started = folder
            .open(None, Some(NOW), &config(), &Metrics::default(), &mut |_| {})
            .expect("the folder holds a journal or takes one");
        Self {
            ledger: started.ledger,
            tokens: TokenKey::derive(&started.key),
            phones,
        }
    }

    /// Enrols another device.
    pub fn phone(&mut self, role: Role, at: &str) -> Phone {
        self.phones += 1;
        let phone = Phone::new(self.phones);
        enrol(&mut self.ledger, &phone, role, at);
        phone
    }

    /// Has as many officers as the daily limit asks for write `count` documents of one run each.
    pub fn documents(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            let mut phone = self.phone(Role::Officer, VILLAGE);
            let own = left.min(DOCUMENTS_PER_PHONE);
            let numbers: Vec<usize> = (0..own).collect();
            for batch in numbers.chunks(500) {
                let runs = batch.iter().map(|_| phone.create(VILLAGE).1).collect();
                self.accept(&phone, runs);
            }
            left -= own;
        }
    }

    /// Has the ledger take runs.
    ///
    /// # Panics
    /// If its disk fails.
    pub fn accept(&mut self, carrier: &Phone, runs: Vec<CheckedRun>) {
        let carrier = carrier.id();
        let batch = runs
            .into_iter()
            .map(|run| Submission {
                carrier,
                run,
                returned: false,
            })
            .collect();
        self.ledger.accept(NOW, batch).expect("the ledger goes on");
    }

    /// Ends the making.
    pub fn finish(self) -> Made {
        let reader = self.ledger.reader();
        Made {
            server: reader.server(),
            journal: reader.journal(),
            tokens: self.tokens,
        }
    }
}

/// What a device needs to be let in by a server of a folder that was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its key.
    pub server: ServerId,
    /// Its journal.
    pub journal: JournalId,
    /// What signs its tokens.
    pub tokens: TokenKey,
}

/// A document of 20 edits after its creation, a run each, as a person makes them.
pub fn edited_document(phone: &mut Phone, edits: usize) -> (DocumentId, Vec<CheckedRun>) {
    let (document, created) = phone.create(VILLAGE);
    let mut runs = vec![created];
    let mut narrative = String::new();
    for number in 0..edits {
        narrative.push_str("Musyawarah desa membahas rancangan anggaran tahun berjalan. ");
        let edit = if number % 2 == 0 {
            Edit::Narrative(narrative.clone())
        } else {
            Edit::Title(format!("Notulensi {number}"))
        };
        runs.push(phone.edits(&document, &[edit]));
    }
    (document, runs)
}

/// Puts a copy of a folder in place of what is at `to`, for the same people; sockets are left out.
///
/// # Panics
/// If the disk fails.
pub fn copy_folder(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).expect("the former folder goes");
    }
    fs::create_dir(to).expect("the folder is made");
    let permissions = fs::metadata(from).expect("a folder").permissions();
    fs::set_permissions(to, permissions).expect("the folder is this user's");
    for entry in fs::read_dir(from).expect("the folder is read") {
        let path = entry.expect("the folder is read").path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else if path.is_file() {
            fs::copy(&path, target).expect("the file is copied");
        }
    }
}

fn config() -> Config {
    Config {
        reserve_mib: 0,
        ..Config::default()
    }
}
