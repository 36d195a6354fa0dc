//! Small files that a server writes beside its journal: each replaced as a whole, with its sum in
//! [`SUMS`], so that one that is not as it was written is noticed, put aside and never used.
//!
//! The sum is on the disk before the file is. A crash between the two leaves the former file with
//! the former sum, which is why two of each name are kept. All lines of [`SUMS`] stand there twice,
//! so that one flipped bit in it is told as what it is and takes no file its proof.
//!
//! What is put aside has a name that is never used again, so that each time is told apart from the
//! one before, whatever became of what was put aside then.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bukti_command::read_named;
use bukti_core::kv::number_aside;
use sha2::{Digest, Sha256};

/// The file with the sums: one `SUM NAME` a line, the newest of a name first, then an empty line and
/// all lines again.
pub(crate) const SUMS: &str = "sums";

/// Sums of one name that are kept.
const SUMS_KEPT: usize = 2;

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
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
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
        let sum = sum_of(text.as_bytes());
        let known = self.sums()?.lines;
        let path = self.folder.join(name);
        let is_newest = known
            .iter()
            .find(|line| line.name == name)
            .is_some_and(|newest| newest.sum == sum);
        if is_newest && read(&path).is_ok_and(|bytes| bytes == text.as_bytes()) {
            return Ok(());
        }
        let mut lines = vec![Line {
            sum,
            name: name.to_owned(),
        }];
        let mut kept = 1;
        for former in known {
            if former == lines[0] {
                continue;
            }
            if former.name == name {
                kept += 1;
                if kept > SUMS_KEPT {
                    continue;
                }
            }
            lines.push(former);
        }
        replace(&self.folder.join(SUMS), written(&lines).as_bytes())?;
        replace(&path, text.as_bytes())
    }

    /// Those that are not as they were written.
    pub(super) fn check(&self) -> io::Result<Vec<Altered>> {
        let sums = self.sums()?;
        let mut wrong = Vec::new();
        if !sums.is_whole {
            wrong.push(Altered {
                name: SUMS.to_owned(),
                fault: "a line of it was not written by a server".to_owned(),
            });
        }
        for name in self.names {
            let fault = match read(&self.folder.join(name)) {
                Ok(bytes) if sums.prove(name, &bytes) => continue,
                Ok(_) => format!("its content is not what {SUMS} says was written"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
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
            let kept = self.make_room(&name, number_min)?;
            if name == SUMS {
                // A copy, so that a crash never leaves the others without their sums.
                match read(&path) {
                    Ok(bytes) => replace(&self.folder.join(&kept), &bytes)?,
                    Err(_) => fs::rename(&path, self.folder.join(&kept))?,
                }
                replace(&path, written(&self.proven()?).as_bytes())?;
            } else {
                fs::rename(&path, self.folder.join(&kept))?;
                sync_names(Some(self.folder))?;
            }
            aside.push(kept);
        }
        Ok(aside)
    }

    /// Names of what was put aside.
    pub(super) fn aside(&self) -> io::Result<Vec<String>> {
        let mut aside = Vec::new();
        for name in self.names.iter().chain(&[SUMS]) {
            let numbers = self.numbers_of(name)?;
            aside.extend(
                numbers
                    .iter()
                    .map(|number| format!("{name}{ASIDE}{number}")),
            );
        }
        Ok(aside)
    }

    /// The name under which a file is put aside: a number beyond `number_min` and all before it.
    fn make_room(&self, name: &str, number_min: u64) -> io::Result<String> {
        let mut numbers = self.numbers_of(name)?;
        let number = number_aside(&numbers, number_min);
        let surplus = (numbers.len() + 1).saturating_sub(ASIDE_MAX);
        for old in numbers.drain(..surplus) {
            remove(&self.folder.join(format!("{name}{ASIDE}{old}")))?;
        }
        Ok(format!("{name}{ASIDE}{number}"))
    }

    /// Numbers under which files of a name were put aside, the least first.
    fn numbers_of(&self, name: &str) -> io::Result<Vec<u64>> {
        let prefix = format!("{name}{ASIDE}");
        let mut numbers = Vec::new();
        for entry in fs::read_dir(self.folder)? {
            let found: OsString = entry?.file_name();
            let number = found.to_str().and_then(|found| found.strip_prefix(&prefix));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Lines that the files of their names bear out.
    fn proven(&self) -> io::Result<Vec<Line>> {
        let mut lines = self.sums()?.lines;
        lines.retain(|line| {
            read(&self.folder.join(&line.name)).is_ok_and(|bytes| sum_of(&bytes) == line.sum)
        });
        Ok(lines)
    }

    fn sums(&self) -> io::Result<Sums> {
        let bytes = match read(&self.folder.join(SUMS)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Ok(Sums::default());
            }
            Err(error) => return Err(error),
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
        Ok(Sums { lines, is_whole })
    }
}

/// What [`SUMS`] says; nothing, where something else is in its place.
#[derive(Default)]
struct Sums {
    /// Each line that a server may have written, once.
    lines: Vec<Line>,
    /// Whether the file has these lines and nothing else.
    is_whole: bool,
}

impl Sums {
    fn prove(&self, name: &str, bytes: &[u8]) -> bool {
        let sum = sum_of(bytes);
        let mut lines = self.lines.iter();
        lines.any(|line| line.name == name && line.sum == sum)
    }
}

#[derive(Debug, PartialEq, Eq)]
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
        assert_eq!(small.put_aside(7).unwrap(), ["a.altered-7"]);
        let kept = fs::read_to_string(root.join("a.altered-7")).unwrap();
        assert_eq!((&*kept, root.join("a").exists()), ("altered\n", false));
        small.write("a", "one\n").unwrap();

        let mut sums = fs::read(root.join(SUMS)).unwrap();
        sums[0] ^= 1;
        fs::write(root.join(SUMS), &sums).unwrap();
        assert_eq!(small.put_aside(9).unwrap(), ["sums.altered-9"]);
        assert_eq!(fs::read(root.join("sums.altered-9")).unwrap(), sums);
        assert_eq!(small.check().unwrap(), []);
        assert_eq!(small.aside().unwrap(), ["a.altered-7", "sums.altered-9"]);
        for name in NAMES {
            assert!(root.join(name).exists(), "{name}");
        }
        // What no file bears out any more is no line of the next.
        let lines = fs::read_to_string(root.join(SUMS)).unwrap();
        assert_eq!(lines.lines().count(), 5);

        fs::remove_file(root.join(SUMS)).unwrap();
        fs::create_dir(root.join(SUMS)).unwrap();
        let aside = small.put_aside(11).unwrap();
        assert_eq!(aside, ["sums.altered-11", "a.altered-11", "b.altered-11"]);
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
