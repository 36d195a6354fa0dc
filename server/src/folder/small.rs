//! Small files that a server writes beside its journal: each replaced as a whole, with its sum in
//! [`SUMS`], so that one that is not as it was written is noticed, put aside and never used.
//!
//! The sum is on the disk before the file is. A crash between the two leaves the former file, so its
//! sum is kept until the next one is written over a file that has another. All lines of [`SUMS`] stand
//! there twice, so that one flipped bit in it is told as what it is and takes no file its proof.
//!
//! What is put aside has a name that is never used again, so that each time is told apart from the
//! one before, whatever became of what was put aside then.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bukti_command::read_named;
use bukti_core::journal::{KeptSum, is_scarce};
use bukti_core::kv::number_aside;
use sha2::{Digest, Sha256};

use super::aside;

/// The file with the sums: one `SUM NAME` a line, the newest of a name first, then an empty line and
/// all lines again.
pub(crate) const SUMS: &str = "sums";

/// Bytes of a small file: far more than a path, a link or sums have.
const BYTES_MAX: usize = 64 * 1024;

/// Altered files of one name that are kept beside the folder's own: enough to look into, and
/// somebody who alters one at each start fills no disk.
const ASIDE_MAX: usize = 8;

/// What stands between a file's name and a number once it was put aside.
const ASIDE: &str = ".altered-";

/// Reads a small file, and nothing that somebody else put in its place and that has no end.
///
/// # Errors
/// What the system says, that it is no file, or too large for one of these.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_named(path, BYTES_MAX)
}

/// Puts `bytes` in place of a file that only its owner may read; they are on the disk when this
/// returns, and after a crash there is the former or the next file.
///
/// # Errors
/// What the system says.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_by(path, ".new", bytes)
}

/// The same for a file in a folder that is not the server's, where a file of the path's name and
/// `ending` is nobody else's.
///
/// # Errors
/// What the system says.
pub(crate) fn replace_by(path: &Path, ending: &str, bytes: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(ending);
    let unfinished = Path::new(&unfinished);
    match fs::remove_file(unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(unfinished, path)?;
    sync_names(path.parent())
}

fn sync_names(folder: Option<&Path>) -> io::Result<()> {
    let named = folder.filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(named.unwrap_or(Path::new(".")))?.sync_all()
}

/// A small file that is not as a server wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Altered {
    /// Its name in the data folder.
    pub name: String,
    /// What is wrong.
    pub fault: String,
}

/// The small files of one folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct SmallFiles<'a> {
    folder: &'a Path,
    names: &'a [&'a str],
}

impl<'a> SmallFiles<'a> {
    /// Those of `names`, and no others, have sums in `folder`.
    pub(super) fn new(folder: &'a Path, names: &'a [&'a str]) -> Self {
        Self { folder, names }
    }

    /// Replaces a small file and keeps its sum.
    pub(super) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let known = self.sums()?.lines;
        let path = self.folder.join(name);
        let there = match read(&path) {
            Err(error) if is_scarce(&error) => return Err(error),
            there => there.ok(),
        };
        let newest = Line {
            sum: sum_of(text.as_bytes()),
            name: name.to_owned(),
        };
        let of_name = || known.iter().filter(|line| line.name == name);
        if of_name().next() == Some(&newest) && there.as_deref() == Some(text.as_bytes()) {
            return Ok(());
        }
        // The one of the file that stands there until the last rename, however many since were
        // written for a file that never came.
        let sum_there = there.map(|bytes| sum_of(&bytes));
        let former = of_name()
            .find(|line| Some(&line.sum) == sum_there.as_ref())
            .or_else(|| of_name().next());
        let others = known.iter().filter(|line| line.name != name);
        let former = former.filter(|former| **former != newest);
        let kept = former.into_iter().chain(others).cloned();
        let lines: Vec<Line> = std::iter::once(newest.clone()).chain(kept).collect();
        replace(&self.folder.join(SUMS), written(&lines).as_bytes())?;
        replace(&path, text.as_bytes())
    }

    /// Those that are not as they were written.
    pub(super) fn check(&self) -> io::Result<Vec<Altered>> {
        let sums = self.sums()?;
        let mut wrong = Vec::new();
        if let Some(fault) = &sums.fault {
            wrong.push(Altered {
                name: SUMS.to_owned(),
                fault: fault.clone(),
            });
        }
        for name in self.names {
            let fault = match read(&self.folder.join(name)) {
                Ok(bytes) if sums.prove(name, &bytes) => continue,
                Ok(_) => format!("its content is not what {SUMS} says was written"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                // That says nothing about the file.
                Err(error) if is_scarce(&error) => return Err(error),
                Err(error) => format!("it cannot be read: {error}"),
            };
            wrong.push(Altered {
                name: (*name).to_owned(),
                fault,
            });
        }
        Ok(wrong)
    }

    /// Puts aside what [`check`](Self::check) names, under numbers from `number_min` on, and answers
    /// the names that it has there. [`SUMS`] goes on with what it proves of the files that stay.
    pub(super) fn put_aside(&self, number_min: u64) -> io::Result<Vec<String>> {
        let mut aside = Vec::new();
        for Altered { name, .. } in self.check()? {
            let path = self.folder.join(&name);
            let bytes = match read(&path) {
                Ok(bytes) => Some(bytes),
                Err(error) if is_scarce(&error) => return Err(error),
                Err(_) => None,
            };
            let sum = bytes.as_deref().map(KeptSum::of);
            let kept = self.make_room(&name, number_min, sum)?;
            match bytes {
                // A copy, so that a crash never leaves the others without their sums.
                Some(bytes) if name == SUMS => replace(&self.folder.join(&kept), &bytes)?,
                // Whoever altered it may not have synced what the sum is of.
                Some(_) => {
                    fs::File::open(&path)?.sync_all()?;
                    fs::rename(&path, self.folder.join(&kept))?;
                }
                None => fs::rename(&path, self.folder.join(&kept))?,
            }
            match &*name {
                SUMS => replace(&path, written(&self.proven()?).as_bytes())?,
                _ => sync_names(Some(self.folder))?,
            }
            aside.push(kept);
        }
        Ok(aside)
    }

    /// Names of what was put aside.
    pub(super) fn aside(&self) -> io::Result<Vec<String>> {
        let mut aside = Vec::new();
        for name in self.names.iter().chain(&[SUMS]) {
            aside.extend(self.aside_of(name)?.into_iter().map(|(_, kept)| kept));
        }
        Ok(aside)
    }

    /// The name under which a file with this sum is put aside: a number beyond `number_min` and all before it.
    fn make_room(&self, name: &str, number_min: u64, sum: Option<KeptSum>) -> io::Result<String> {
        let mut aside = self.aside_of(name)?;
        let numbers: Vec<u64> = aside.iter().map(|(number, _)| *number).collect();
        let number = number_aside(&numbers, number_min);
        let surplus = (aside.len() + 1).saturating_sub(ASIDE_MAX);
        for (_, old) in aside.drain(..surplus) {
            remove(&self.folder.join(old))?;
        }
        Ok(format!("{name}{ASIDE}{}", aside::ending(number, sum)))
    }

    /// Numbers under which files of a name were put aside, the least first, each with the name that
    /// was found: a number may be written in more than one way.
    fn aside_of(&self, name: &str) -> io::Result<Vec<(u64, String)>> {
        let prefix = format!("{name}{ASIDE}");
        let mut aside = Vec::new();
        for entry in fs::read_dir(self.folder)? {
            let found: OsString = entry?.file_name();
            let Some(found) = found.to_str() else {
                continue;
            };
            let number = found.strip_prefix(&prefix).and_then(aside::parsed);
            aside.extend(number.map(|(number, _)| (number, found.to_owned())));
        }
        aside.sort_unstable();
        Ok(aside)
    }

    /// Lines that the files of their names bear out.
    fn proven(&self) -> io::Result<Vec<Line>> {
        let mut lines = Vec::new();
        for line in self.sums()?.lines {
            match read(&self.folder.join(&line.name)) {
                Err(error) if is_scarce(&error) => return Err(error),
                Ok(bytes) if sum_of(&bytes) == line.sum => lines.push(line),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(lines)
    }

    fn sums(&self) -> io::Result<Sums> {
        let bytes = match read(&self.folder.join(SUMS)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) if is_scarce(&error) => return Err(error),
            // What a disk does not give any more proves as little as what somebody else wrote.
            Err(error) => {
                return Ok(Sums {
                    lines: Vec::new(),
                    fault: Some(format!("it cannot be read: {error}")),
                });
            }
        };
        let mut lines: Vec<Line> = Vec::new();
        let text = String::from_utf8_lossy(&bytes);
        for line in text.lines() {
            let line = line.split_once(' ').map(|(sum, name)| Line {
                sum: sum.to_owned(),
                name: name.to_owned(),
            });
            let line = line.filter(|line| is_sum(&line.sum) && self.names.contains(&&*line.name));
            lines.extend(line.filter(|line| !lines.contains(line)));
        }
        // Servers of before wrote them once.
        let is_whole = [written(&lines), once(&lines)].contains(&text.into_owned());
        let fault = (!is_whole).then(|| "a line of it was not written by a server".to_owned());
        Ok(Sums { lines, fault })
    }
}

/// What [`SUMS`] says; nothing, where something else is in its place or it cannot be read.
struct Sums {
    /// Each line that a server may have written, once.
    lines: Vec<Line>,
    /// Why it is not what a server wrote.
    fault: Option<String>,
}

impl Sums {
    fn prove(&self, name: &str, bytes: &[u8]) -> bool {
        let sum = sum_of(bytes);
        let mut lines = self.lines.iter();
        lines.any(|line| line.name == name && line.sum == sum)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    sum: String,
    name: String,
}

fn written(lines: &[Line]) -> String {
    match lines.is_empty() {
        true => String::new(),
        false => format!("{0}\n{0}", once(lines)),
    }
}

fn once(lines: &[Line]) -> String {
    let lines = lines.iter();
    lines
        .map(|Line { sum, name }| format!("{sum} {name}\n"))
        .collect()
}

fn is_sum(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn remove(path: &PathBuf) -> io::Result<()> {
    match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}

/// The file of which something was put aside under `name`.
pub(crate) fn original(aside: &str) -> Option<&str> {
    aside.split_once(ASIDE).map(|(name, _)| name)
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn sum_of(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["a", "b"];

    fn small(folder: &tempfile::TempDir) -> SmallFiles<'_> {
        SmallFiles::new(folder.path(), &NAMES)
    }

    fn aside_name(name: &str, number: u64, bytes: &[u8]) -> String {
        let ending = aside::ending(number, Some(KeptSum::of(bytes)));
        format!("{name}{ASIDE}{ending}")
    }

    fn names(altered: Vec<Altered>) -> Vec<String> {
        altered.into_iter().map(|altered| altered.name).collect()
    }

    #[test]
    fn every_flipped_bit_of_a_small_file_or_of_the_sums_is_told_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let small = small(&folder);
        small.write("a", "one\n").unwrap();
        small.write("b", "two\n").unwrap();
        small.write("a", "three\n").unwrap();
        assert_eq!(small.check().unwrap(), []);
        for name in ["a", "b", SUMS] {
            let path = folder.path().join(name);
            let sound = fs::read(&path).unwrap();
            for bit in 0..8 * sound.len() {
                let mut flipped = sound.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                fs::write(&path, &flipped).unwrap();
                assert_eq!(names(small.check().unwrap()), [name], "bit {bit}");
            }
            fs::write(&path, &sound).unwrap();
        }
    }

    #[test]
    fn sums_of_a_server_of_before_stand_until_the_next_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let (path, small) = (folder.path().join(SUMS), small(&folder));
        small.write("a", "one\n").unwrap();
        small.write("b", "two\n").unwrap();
        let sums = fs::read_to_string(&path).unwrap();
        fs::write(&path, sums.split_once("\n\n").unwrap().1).unwrap();
        assert_eq!(small.check().unwrap(), []);
        small.write("b", "three\n").unwrap();
        small.write("b", "two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 7);
        assert_eq!(small.check().unwrap(), []);
    }

    #[test]
    fn a_crash_between_sum_and_file_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let small = small(&folder);
        small.write("a", "one\n").unwrap();
        let former = fs::read(folder.path().join("a")).unwrap();
        small.write("a", "two\n").unwrap();
        fs::write(folder.path().join("a"), former).unwrap();
        assert_eq!(small.check().unwrap(), []);
        small.write("a", "three\n").unwrap();
        assert_eq!(small.check().unwrap(), []);
    }

    #[test]
    fn however_many_writes_end_behind_their_sum_the_file_that_stands_there_is_sound() {
        let folder = tempfile::tempdir().unwrap();
        let small = small(&folder);
        small.write("a", "one\n").unwrap();
        for text in ["two\n", "three\n", "four\n"] {
            small.write("a", text).unwrap();
            fs::write(folder.path().join("a"), "one\n").unwrap();
            assert_eq!(small.check().unwrap(), [], "{text}");
        }
        small.write("a", "five\n").unwrap();
        assert_eq!(small.check().unwrap(), []);
    }

    #[test]
    fn sums_that_cannot_be_read_prove_nothing_and_are_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let (path, small) = (folder.path().join(SUMS), small(&folder));
        small.write("a", "one\n").unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(SUMS, &path).unwrap();
        let altered = small.check().unwrap();
        assert!(altered[0].fault.starts_with("it cannot be read: "));
        assert_eq!(names(altered), [SUMS, "a"]);
        let aside = small.put_aside(7).unwrap();
        let a = aside_name("a", 7, b"one\n");
        assert_eq!(aside, ["sums.altered-7", &*a]);
        assert_eq!(small.check().unwrap(), []);
        small.write("a", "one\n").unwrap();
        assert_eq!(small.check().unwrap(), []);
    }

    #[test]
    fn a_number_that_somebody_wrote_otherwise_is_removed_under_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let (root, small) = (folder.path(), small(&folder));
        for strange in ["a.altered-+1", "a.altered-001"] {
            fs::write(root.join(strange), "?").unwrap();
        }
        for _ in 0..ASIDE_MAX {
            fs::write(root.join("a"), "altered\n").unwrap();
            small.put_aside(3).unwrap();
        }
        let expected: Vec<String> = (3..11)
            .map(|number| aside_name("a", number, b"altered\n"))
            .collect();
        assert_eq!(small.aside().unwrap().len(), expected.len());
        assert!(expected.iter().all(|name| root.join(name).exists()));
    }

    /// Who is named when the file is checked, once it was changed.
    fn named(change: impl FnOnce(&Path)) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let small = small(&folder);
        small.write("a", "one\n").unwrap();
        small.write("b", "two\n").unwrap();
        change(folder.path());
        names(small.check().unwrap())
    }

    #[test]
    fn a_sum_counts_for_its_own_file_and_a_line_only_as_a_server_writes_it() {
        let line = |root: &Path, line: &str| {
            let sums = fs::read_to_string(root.join(SUMS)).unwrap();
            let (once, _) = sums.split_once("\n\n").unwrap();
            let once = format!("{once}\n{line}");
            fs::write(root.join(SUMS), format!("{once}\n{once}")).unwrap();
        };
        let sum = sum_of(b"three\n");
        assert_eq!(named(|_| {}), [""; 0]);
        assert_eq!(named(|root| line(root, &format!("{sum} a\n"))), [""; 0]);
        for strange in [
            format!("{sum} c\n"),
            format!("{} a\n", &sum[1..]),
            format!("{}x a\n", &sum[1..]),
            format!("{sum}\n"),
        ] {
            assert_eq!(named(|root| line(root, &strange)), [SUMS], "{strange}");
        }
        let other = named(|root| {
            fs::copy(root.join("b"), root.join("a")).unwrap();
        });
        assert_eq!(other, ["a"]);
        // A folder in its place cannot be read as a file.
        let unreadable = named(|root| {
            fs::remove_file(root.join("a")).unwrap();
            fs::create_dir(root.join("a")).unwrap();
        });
        assert_eq!(unreadable, ["a"]);
        // Without sums nothing says what a server wrote.
        let unproven = named(|root| fs::remove_file(root.join(SUMS)).unwrap());
        assert_eq!(unproven, ["a", "b"]);
    }

    #[test]
    fn what_was_altered_is_put_aside_whole_and_the_rest_stays_proven() {
        let folder = tempfile::tempdir().unwrap();
        let (root, small) = (folder.path(), small(&folder));
        small.write("a", "one\n").unwrap();
        small.write("b", "two\n").unwrap();
        assert_eq!(small.put_aside(7).unwrap(), [""; 0]);

        fs::write(root.join("a"), "altered\n").unwrap();
        let a = aside_name("a", 7, b"altered\n");
        assert_eq!(small.put_aside(7).unwrap(), [&*a]);
        let kept = fs::read_to_string(root.join(&a)).unwrap();
        assert_eq!((&*kept, root.join("a").exists()), ("altered\n", false));
        small.write("a", "one\n").unwrap();

        let mut sums = fs::read(root.join(SUMS)).unwrap();
        sums[0] ^= 1;
        fs::write(root.join(SUMS), &sums).unwrap();
        let of_sums = aside_name(SUMS, 9, &sums);
        assert_eq!(small.put_aside(9).unwrap(), [&*of_sums]);
        assert_eq!(fs::read(root.join(&of_sums)).unwrap(), sums);
        assert_eq!(small.check().unwrap(), []);
        assert_eq!(small.aside().unwrap(), [a, of_sums]);
        for name in NAMES {
            assert!(root.join(name).exists(), "{name}");
        }
        // What no file bears out any more is no line of the next.
        let lines = fs::read_to_string(root.join(SUMS)).unwrap();
        assert_eq!(lines.lines().count(), 5);

        fs::remove_file(root.join(SUMS)).unwrap();
        fs::create_dir(root.join(SUMS)).unwrap();
        let aside = small.put_aside(11).unwrap();
        let a = aside_name("a", 11, b"one\n");
        let b = aside_name("b", 11, b"two\n");
        assert_eq!(aside, ["sums.altered-11", &*a, &*b]);
        assert_eq!(small.check().unwrap(), []);
    }

    #[test]
    fn names_of_what_is_put_aside_go_up_and_only_the_last_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (root, small) = (folder.path(), small(&folder));
        for _ in 0..ASIDE_MAX + 2 {
            small.write("a", "one\n").unwrap();
            // A folder is put aside like a file.
            fs::remove_file(root.join("a")).unwrap();
            fs::create_dir(root.join("a")).unwrap();
            small.put_aside(3).unwrap();
        }
        let expected: Vec<String> = (5..13)
            .map(|number| format!("a.altered-{number}"))
            .collect();
        assert_eq!(small.aside().unwrap(), expected);
    }

    #[test]
    fn what_was_altered_is_written_again_and_only_the_last_sums_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (root, small) = (folder.path(), small(&folder));
        small.write("a", "one\n").unwrap();
        fs::write(root.join("a"), "altered\n").unwrap();
        small.write("a", "one\n").unwrap();
        assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "one\n");
        assert_eq!(small.check().unwrap(), []);

        for text in ["two\n", "three\n", "four\n"] {
            small.write("a", text).unwrap();
        }
        let sums = fs::read_to_string(root.join(SUMS)).unwrap();
        let kept: Vec<String> = sums.lines().map(str::to_owned).collect();
        let of = |text: &str| format!("{} a", sum_of(text.as_bytes()));
        let (four, three) = (&*of("four\n"), &*of("three\n"));
        assert_eq!(kept, [four, three, "", four, three]);
    }
}
