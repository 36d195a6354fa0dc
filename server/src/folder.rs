//! The data folder: one server's everything in one place.
//!
//! ```text
//! DATA/                          0700
//!   lock  control.sock           who holds the folder, and where its commands go
//!   server.key                   0600  signs the journal; back it up apart from the rest
//!   journal/                     the truth
//!   store/                       derived from the journal; may be deleted
//!   key-path                     where the key is, if `--key` said another place
//!   public-url                   the address of the last start, for links made while stopped
//!   administrator.invitation     0600  written at the first start
//!   sums                         what the three small files above held when they were written
//!   restoring/                   what a restore makes until the folder is a server
//!   *.altered-N-SUM               small files that were found altered, put aside
//!   *.seg.damaged-N-SUM           segments before a repair put back what a backup holds
//!   store.damaged-N               a store that was found damaged, put aside
//! ```

mod aside;
pub(crate) mod replaced;
pub mod restoring;
pub(crate) mod small;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bukti_core::causes::{WHERE_FULL, is_for_want_of_space, with_causes};
use bukti_core::id::{JournalId, Position, WallMs};
use bukti_core::journal::disk::DiskStorage;
use bukti_core::journal::{OpenError, ReadError, SideFile};
use bukti_core::kv::{KvError, SledKv, move_aside};
use bukti_core::ledger::{self, LedgerError, Opened, Progress};
use ed25519_dalek::SigningKey;

use crate::accepting::{Disk, Ledger};
use crate::clock::wall_now;
use crate::config::Config;
use crate::folder::small::{Altered, SmallFiles};
use crate::found;
use crate::metrics::Metrics;

const KEY: &str = "server.key";
const JOURNAL: &str = "journal";
const STORE: &str = "store";
pub(crate) const KEY_PATH: &str = "key-path";
pub(crate) const PUBLIC_URL: &str = "public-url";
pub(crate) const INVITATION: &str = "administrator.invitation";

/// First word of a key file, so that no other file is taken for one.
const KEY_WORD: &str = "bukti-server-key-1";

const MIB: u64 = 1024 * 1024;

/// What helps where the journal is damaged.
pub(crate) const WHERE_DAMAGED: &str = "put the bytes back with bukti-server repair --from BACKUP, or \
                                        restore the newest backup into a new folder";

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The system refused something.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was to be done.
        act: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no server in it.
    #[error("{} holds no server yet: start one with bukti-server serve --data {}", .0.display(), .0.display())]
    Empty(PathBuf),
    /// The folder is a device's.
    #[error("{} holds a device: expected the data folder of a server, or a new one", .0.display())]
    Device(PathBuf),
    /// A server listened here, and its journal is gone.
    #[error("{} has no journal any more, though a server served it: restore a backup into a new folder", .0.display())]
    JournalMissing(PathBuf),
    /// A restore was interrupted, and what is there is no server yet.
    #[error("a restore into {} was interrupted: run bukti-server restore again, which begins anew", .0.display())]
    HalfRestored(PathBuf),
    /// The journal lacks what the store has seen, and somebody has to decide.
    #[error("{}: records were lost; {}restore the newest backup into a new folder, or go on without {} with bukti-server rebuild --accept-loss, which gives up for ever what no device holds", unlike(*.journal, *.store), kept(.aside), lost(*.journal, *.store))]
    Lost {
        /// Files that keep what was cut from the journal's end.
        aside: Vec<String>,
        /// The last position that the journal holds.
        journal: Position,
        /// The last one that the store has seen.
        store: Position,
    },
    /// Something else lies where a restore makes a server.
    #[error("{} is not of a restore: move it elsewhere", .0.display())]
    NotOfARestore(PathBuf),
    /// The path is no folder.
    #[error("{} is a file: expected the data folder of a server", .0.display())]
    NotAFolder(PathBuf),
    /// A small file was changed by somebody else.
    #[error("{} is not as the server wrote it and is not used: {}", .0.display(), written_by(.0))]
    Altered(PathBuf),
    /// There is a journal and no key for it.
    #[error("{} is missing: put the server's key there, or name it with --key of 'serve' or 'restore'", .0.display())]
    NoKey(PathBuf),
    /// The file is not a key.
    #[error("{} is not a key of bukti-server", .0.display())]
    NotAKey(PathBuf),
    /// The random source of the system failed.
    #[error("the system gives no random bytes")]
    Random(#[source] getrandom::Error),
    /// The store cannot be opened or replaced.
    #[error(transparent)]
    Store(KvError),
    /// The ledger refuses.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl FolderError {
    /// What it is, why, and what can be done about it.
    pub fn told(&self) -> String {
        let text = with_causes(self);
        let is_damaged = matches!(
            self,
            Self::Ledger(
                LedgerError::Open(OpenError::Damaged(_))
                    | LedgerError::Read(ledger::ReadError::Journal(ReadError::Damaged(_)))
            )
        );
        match is_damaged {
            true => format!("{text}; {WHERE_DAMAGED}"),
            false if is_for_want_of_space(self) => format!("{text}; {WHERE_FULL}"),
            false => text,
        }
    }
}

/// Names records from one to another.
fn records(first: Position, last: Position) -> String {
    match first == last {
        true => format!("record {first}"),
        false => format!("records {first} to {last}"),
    }
}

/// What the store has seen and the journal does not hold. Where two histories part nothing says.
pub(crate) fn lost(journal: Position, store: Position) -> String {
    match journal < store {
        true => records(journal + 1, store),
        false => "what only the store has seen".to_owned(),
    }
}

/// How a journal shows that it lacks what the store has seen.
fn unlike(journal: Position, store: Position) -> String {
    match journal < store {
        true => format!("the journal ends at {journal}, but the store has seen it at {store}"),
        false => format!(
            "the journal is of another history than the store, which has seen another record {store}, as if \
             files had been put back"
        ),
    }
}

/// What writes a small file again.
fn written_by(path: &Path) -> &'static str {
    match path.ends_with(KEY_PATH) {
        true => "name the key with bukti-server serve --key FILE, which writes it again",
        false => "serve the folder once, which writes it again",
    }
}

/// Where what was cut is kept, before what to do about it.
fn kept(aside: &[String]) -> String {
    match aside {
        [] => String::new(),
        names => format!(
            "what was cut from its end is kept in {}; ",
            names.join(", ")
        ),
    }
}

/// A data folder by its path. Whoever opens its ledger holds its lock.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

/// What opening found.
#[derive(Debug)]
pub struct Started {
    /// The ledger.
    pub ledger: Ledger,
    /// The server's key.
    pub key: SigningKey,
    /// How the ledger was found; nothing if it was made.
    pub opened: Option<Opened>,
    /// Where a damaged store was put.
    pub moved_aside: Option<PathBuf>,
}

impl Folder {
    /// Names a folder; nothing is touched.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the journal is.
    pub fn journal(&self) -> PathBuf {
        self.root.join(JOURNAL)
    }

    /// Where the key is: in the folder, or where the last `--key` said.
    pub fn key(&self) -> PathBuf {
        let own = self.root.join(KEY);
        let text = small::read(&self.root.join(KEY_PATH)).map(String::from_utf8);
        match text {
            Ok(Ok(path)) if !own.exists() => PathBuf::from(path.trim_end_matches('\n')),
            Ok(Ok(_) | Err(_)) | Err(_) => own,
        }
    }

    /// The same, unless somebody else wrote where that is.
    fn sound_key(&self) -> Result<PathBuf, FolderError> {
        if !self.root.join(KEY).exists() {
            self.expect_unaltered(KEY_PATH)?;
        }
        Ok(self.key())
    }

    /// Remembers where a key lies for commands that are not told, once the ledger was opened with
    /// it: a wrong one must not be looked for again.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn remember_key(&self, path: &Path) -> Result<(), FolderError> {
        let path = std::path::absolute(path).map_err(|source| self.io("find", path, source))?;
        if path == self.root.join(KEY) {
            return Ok(());
        }
        self.write_small(KEY_PATH, &format!("{}\n", path.display()))
    }

    /// Whether there is a journal. A start that was killed before its first record was whole left
    /// none.
    pub fn holds_a_server(&self) -> bool {
        let entries = match fs::read_dir(self.journal()) {
            Ok(entries) => entries,
            // What cannot be read may well be one: opening it will say what is wrong.
            Err(error) => return error.kind() != io::ErrorKind::NotFound,
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        names
            .into_iter()
            .any(|name| Path::new(&name).extension().is_some_and(|end| end == "seg"))
    }

    /// Why there is no server in a folder that holds none.
    pub fn lacks_a_server(&self) -> FolderError {
        match self.may_be_founded() {
            Err(error) => error,
            Ok(()) => FolderError::Empty(self.root.clone()),
        }
    }

    /// Whether the folder was never anybody's, but perhaps for a key or a start that was killed at
    /// once. A server that had listened left its address, and only its journal can go missing; so
    /// can the journal of which a store holds rows, which [`ledger::Ledger::create`] looks for.
    fn may_be_founded(&self) -> Result<(), FolderError> {
        if self.is_half_restored() {
            return Err(FolderError::HalfRestored(self.root.clone()));
        }
        let holds = |name: &str| self.root.join(name).exists();
        if holds("identity.cbor") || holds("tail") {
            return Err(FolderError::Device(self.root.clone()));
        }
        if holds(PUBLIC_URL) || holds(INVITATION) || !self.kept_aside().is_empty() {
            return Err(FolderError::JournalMissing(self.root.clone()));
        }
        Ok(())
    }

    /// Removes the segment that a start left which was killed before it had its name.
    fn remove_unfinished(&self) -> Result<(), FolderError> {
        let Ok(entries) = fs::read_dir(self.journal()) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|end| end == "new") {
                fs::remove_file(&path).map_err(|source| self.io("remove", &path, source))?;
            }
        }
        Ok(())
    }

    /// Whether the first administrator's invitation was never written: the start that founded the
    /// journal may have been killed before.
    pub fn lacks_invitation(&self) -> bool {
        !self.root.join(INVITATION).exists()
    }

    /// Whether anything is there that a restore would have to replace. The store of one that was
    /// interrupted is nobody's.
    pub fn is_taken(&self) -> bool {
        let has_store = self.root.join(STORE).exists() && !self.is_half_restored();
        self.holds_a_server() || has_store || self.journal().exists()
    }

    /// Opens the ledger, or makes one if the folder is empty and `create` allows it.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(
        &self,
        key: Option<&Path>,
        create: Option<WallMs>,
        config: &Config,
        metrics: &Metrics,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Started, FolderError> {
        let fresh = !self.holds_a_server();
        if fresh && create.is_none() {
            return Err(self.lacks_a_server());
        }
        if fresh {
            self.may_be_founded()?;
            self.remove_unfinished()?;
        } else {
            self.sweep_restore()?;
        }
        let key_path = match key {
            Some(path) => path.to_owned(),
            None => self.sound_key()?,
        };
        let key = if fresh && !key_path.exists() {
            make_key(&key_path)?
        } else {
            read_key(&key_path)?
        };
        let (kv, moved_aside) = match fresh {
            true => (self.open_store_of_nobody(config)?, None),
            false => self.open_store(config)?,
        };
        let kv = Arc::new(kv);
        let make = |now| -> Result<Ledger, FolderError> {
            let disk = self.open_journal(metrics)?;
            let journal = JournalId(random()?);
            let (kv, key) = (kv.clone(), key.clone());
            let made = ledger::Ledger::create(disk, kv, key, journal, now, options(config));
            let mut ledger = made.map_err(|error| self.journal_gone(error))?;
            self.record_found(&mut ledger, None)?;
            Ok(ledger)
        };
        let (ledger, opened) = if let Some(now) = create.filter(|_| fresh) {
            (make(now)?, None)
        } else {
            let disk = self.open_journal(metrics)?;
            let (kv, key) = (kv.clone(), key.clone());
            match ledger::Ledger::open_untold(disk, kv, key, options(config), progress) {
                Ok((mut ledger, opened)) => {
                    self.record_found(&mut ledger, Some(&opened))?;
                    (ledger, Some(opened))
                }
                Err(error @ LedgerError::Empty) => {
                    let Some(now) = create else {
                        return Err(error.into());
                    };
                    self.may_be_founded()?;
                    (make(now)?, None)
                }
                Err(error) => return Err(self.journal_gone(error)),
            }
        };
        Ok(Started {
            ledger,
            key,
            opened,
            moved_aside,
        })
    }

    fn open_journal(&self, metrics: &Metrics) -> Result<Disk, FolderError> {
        let disk = DiskStorage::open(self.journal());
        let disk = disk.map_err(|source| self.io("open", &self.journal(), source))?;
        Ok(metrics.measure(disk))
    }

    fn journal_gone(&self, error: LedgerError) -> FolderError {
        match error {
            LedgerError::JournalGone => FolderError::JournalMissing(self.root.clone()),
            LedgerError::Lost { store, journal } => FolderError::Lost {
                aside: self.cut_behind(journal.position),
                journal: journal.position,
                store: store.position,
            },
            error => error.into(),
        }
    }

    /// Side files with what stood behind a position.
    fn cut_behind(&self, position: Position) -> Vec<String> {
        let mut names = self.kept_aside();
        names.retain(|name| {
            let file = name
                .strip_prefix(JOURNAL)
                .and_then(|rest| rest.strip_prefix('/'));
            let side = file.and_then(SideFile::parse);
            side.is_some_and(|side| side.position > position)
        });
        names
    }

    /// Makes everything derived anew, and keeps a loss of records as a finding if there was one.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn rebuild(
        &self,
        config: &Config,
        metrics: &Metrics,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Ledger, Opened), FolderError> {
        let key = read_key(&self.sound_key()?)?;
        let disk = self.open_journal(metrics)?;
        let (kv, _) = self.open_store(config)?;
        let (kv, now) = (Arc::new(kv), wall_now());
        let opened = ledger::Ledger::open_after_loss(disk, kv, key, now, options(config), progress);
        let (mut ledger, opened) = opened.map_err(|error| self.journal_gone(error))?;
        self.record_found(&mut ledger, Some(&opened))?;
        Ok((ledger, opened))
    }

    /// Before anything writes the small files again. What is altered is aside before it is a
    /// finding, so that no end in between leaves it in use or untold.
    fn record_found(
        &self,
        ledger: &mut Ledger,
        opened: Option<&Opened>,
    ) -> Result<(), FolderError> {
        let aside = self.small_files().put_aside(unused_number());
        for kept in
            aside.map_err(|source| self.io("put aside small files of", &self.root, source))?
        {
            tracing::warn!(%kept, "a small file was not as the server wrote it and was put aside");
        }
        Ok(found::record(ledger, opened, &self.kept_aside())?)
    }

    /// Keeps the bytes of a segment beside the journal before something replaces it, and none of one
    /// that was missing; gives the name, which the next opening states as a finding.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep_segment(&self, name: &str, bytes: &[u8]) -> io::Result<String> {
        replaced::keep(&self.root, name, bytes, unused_number())
    }

    /// What lies beside the live files: tails that were cut from the journal, damaged stores, small
    /// files that were altered, and segments that were replaced.
    pub fn kept_aside(&self) -> Vec<String> {
        let names = |folder: &Path| -> Vec<String> {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let mut names: Vec<String> = entries
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort_unstable();
            names
        };
        let tails = names(&self.journal())
            .into_iter()
            .filter(|name| SideFile::parse(name).is_some())
            .map(|name| format!("{JOURNAL}/{name}"));
        let damaged = format!("{STORE}.damaged-");
        let stores = names(&self.root)
            .into_iter()
            .filter(|name| name.starts_with(&damaged));
        let small = self.small_files().aside().unwrap_or_default();
        let replaced = replaced::kept(&self.root).unwrap_or_default();
        tails.chain(stores).chain(small).chain(replaced).collect()
    }

    /// Forgets everything derived from the journal.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn remove_store(&self) -> Result<(), FolderError> {
        let path = self.root.join(STORE);
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(self.io("remove", &path, source))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Remembers the address in links for the time when no server runs.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn remember_url(&self, url: &str) -> Result<(), FolderError> {
        self.write_small(PUBLIC_URL, &format!("{url}\n"))
    }

    fn write_small(&self, name: &str, text: &str) -> Result<(), FolderError> {
        self.small_files()
            .write(name, text)
            .map_err(|source| self.io("write", &self.root.join(name), source))
    }

    /// Small files of the folder that are not as they were written.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn check_small_files(&self) -> Result<Vec<Altered>, FolderError> {
        self.small_files()
            .check()
            .map_err(|source| self.io("read", &self.root.join(small::SUMS), source))
    }

    /// Files beside the journal that do not keep what was put aside under their names. The journal's own
    /// verification looks at what was cut from it.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn check_kept(&self) -> Result<Vec<Altered>, FolderError> {
        let read = |source| self.io("read what is kept in", &self.root, source);
        let mut names = self.small_files().aside().map_err(read)?;
        names.extend(replaced::kept(&self.root).map_err(read)?);
        let mut altered = Vec::new();
        for name in names {
            let fault = aside::fault(&self.root, &name).map_err(read)?;
            altered.extend(fault.map(|fault| Altered { name, fault }));
        }
        Ok(altered)
    }

    fn small_files(&self) -> SmallFiles<'_> {
        SmallFiles::new(&self.root, &[KEY_PATH, PUBLIC_URL, INVITATION])
    }

    /// Refuses a small file that somebody else wrote, also once it was put aside.
    fn expect_unaltered(&self, name: &str) -> Result<(), FolderError> {
        let altered = self.check_small_files()?;
        let is_gone = !self.root.join(name).exists();
        let was_altered = || {
            let aside = self.kept_aside();
            aside
                .iter()
                .any(|aside| small::original(aside) == Some(name))
        };
        if altered.iter().any(|file| file.name == name) || (is_gone && was_altered()) {
            return Err(FolderError::Altered(self.root.join(name)));
        }
        Ok(())
    }

    /// The address of the last start, if there was one.
    ///
    /// # Errors
    /// [`FolderError::Altered`] if the file with it is not as the server wrote it, since links would
    /// lead elsewhere. [`FolderError::Io`].
    pub fn last_url(&self) -> Result<Option<String>, FolderError> {
        self.expect_unaltered(PUBLIC_URL)?;
        let bytes = small::read(&self.root.join(PUBLIC_URL)).ok();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let url = text.map(|text| text.trim().to_owned());
        Ok(url.filter(|url| !url.is_empty()))
    }

    /// Writes the first administrator's link where only its owner can read it, in place of the one
    /// before.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn write_invitation(&self, link: &str) -> Result<PathBuf, FolderError> {
        self.write_small(INVITATION, &format!("{link}\n"))?;
        Ok(self.root.join(INVITATION))
    }

    /// Opens the store of a folder without a journal. A damaged one may be what is left of a server.
    fn open_store_of_nobody(&self, config: &Config) -> Result<SledKv, FolderError> {
        let cache = config.store_cache_mib * MIB;
        match SledKv::open(&self.root.join(STORE), cache) {
            Ok(kv) => Ok(kv),
            Err(KvError::Damaged(_)) => Err(FolderError::JournalMissing(self.root.clone())),
            Err(error @ (KvError::Busy | KvError::Io { .. })) => Err(FolderError::Store(error)),
        }
    }

    fn open_store(&self, config: &Config) -> Result<(SledKv, Option<PathBuf>), FolderError> {
        let path = self.root.join(STORE);
        let cache = config.store_cache_mib * MIB;
        match SledKv::open(&path, cache) {
            Ok(kv) => Ok((kv, None)),
            Err(KvError::Damaged(reason)) => {
                tracing::warn!(%reason, "the store is damaged and will be built again");
                let aside = move_aside(&path, unused_number()).map_err(FolderError::Store)?;
                let kv = SledKv::open(&path, cache).map_err(FolderError::Store)?;
                Ok((kv, Some(aside)))
            }
            Err(error @ (KvError::Busy | KvError::Io { .. })) => Err(FolderError::Store(error)),
        }
    }

    fn io(&self, act: &'static str, path: &Path, source: io::Error) -> FolderError {
        FolderError::Io {
            act,
            path: path.to_owned(),
            source,
        }
    }
}

/// A number for what is put aside, which no other had: milliseconds, so also if the others are gone.
fn unused_number() -> u64 {
    wall_now().try_into().unwrap_or(1)
}

/// How the ledger uses memory and disk under a configuration.
pub fn options(config: &Config) -> ledger::Options {
    let mut journal = bukti_core::journal::Options::server(config.reserve_mib * MIB);
    journal.segment_bytes = u32::try_from(config.segment_mib * MIB).unwrap_or(u32::MAX);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut options = ledger::Options::new(journal, threads);
    options.cache_bytes = config.document_cache_mib * 1024 * 1024;
    options
}

/// Sixteen random bytes, for ids and secrets.
///
/// # Errors
/// [`FolderError::Random`].
pub fn random<const N: usize>() -> Result<[u8; N], FolderError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(FolderError::Random)?;
    Ok(bytes)
}

/// Reads a server's key.
///
/// # Errors
/// [`FolderError::NoKey`] or [`FolderError::NotAKey`].
pub fn read_key(path: &Path) -> Result<SigningKey, FolderError> {
    let bytes = match small::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FolderError::NoKey(path.to_owned()));
        }
        Err(source) => {
            return Err(FolderError::Io {
                act: "read",
                path: path.to_owned(),
                source,
            });
        }
    };
    let text = str::from_utf8(&bytes).unwrap_or_default();
    let seed = text
        .strip_prefix(KEY_WORD)
        .and_then(|rest| bs58::decode(rest.trim()).with_check(None).into_vec().ok())
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    seed.map(|seed| SigningKey::from_bytes(&seed))
        .ok_or_else(|| FolderError::NotAKey(path.to_owned()))
}

/// Writes a key where a restore finds it.
///
/// # Errors
/// [`FolderError::Io`] also if there is a file already.
pub fn write_key(path: &Path, key: &SigningKey) -> Result<(), FolderError> {
    if path.symlink_metadata().is_ok() {
        return Err(FolderError::Io {
            act: "write",
            path: path.to_owned(),
            source: io::ErrorKind::AlreadyExists.into(),
        });
    }
    let seed = bs58::encode(key.to_bytes()).with_check().into_string();
    let text = format!("{KEY_WORD} {seed}\n");
    // It may be put beside other keys.
    small::replace_by(path, ".bukti-unfinished", text.as_bytes()).map_err(|source| {
        FolderError::Io {
            act: "write",
            path: path.to_owned(),
            source,
        }
    })
}

fn make_key(path: &Path) -> Result<SigningKey, FolderError> {
    let key = SigningKey::from_bytes(&random()?);
    write_key(path, &key)?;
    Ok(key)
}

#[cfg(test)]
mod tests;
