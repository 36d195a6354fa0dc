//! Small files that a server writes beside its journal: each replaced as a whole, with its sum in
//! [`SUMS`], so that `verify` notices when one is not as it was written.
//!
//! The sum is on the disk before the file is. A crash between the two leaves the former file with
//! the former sum, which is why two of each name are kept.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// The file with the sums: one `SUM NAME` a line, the newest of a name first.
pub(super) const SUMS: &str = "sums";

/// Sums of one name that are kept.
const SUMS_KEPT: usize = 2;

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
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    fs::File::open(folder)?.sync_all()
}

/// Replaces a small file of `folder` and keeps its sum.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let sum = sum_of(text.as_bytes());
    let known = read_sums(folder)?;
    let path = folder.join(name);
    let is_newest = known
        .iter()
        .find(|(of, _)| of == name)
        .is_some_and(|(_, newest)| *newest == sum);
    if is_newest && fs::read(&path).is_ok_and(|bytes| bytes == text.as_bytes()) {
        return Ok(());
    }
    let mut sums = format!("{sum} {name}\n");
    let mut kept = 1;
    for (of, former) in &known {
        if of == name {
            kept += 1;
            if kept > SUMS_KEPT {
                continue;
            }
        }
        sums.push_str(&format!("{former} {of}\n"));
    }
    replace(&folder.join(SUMS), sums.as_bytes())?;
    replace(&path, text.as_bytes())
}

/// A small file that is not as a server wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Altered {
    /// Its name in the data folder.
    pub name: String,
    /// What is wrong.
    pub fault: String,
    /// The sum of what it holds, by which one change is told from another; empty if it cannot be read.
    pub sum: String,
}

/// Small files that are not as they were written. Folders of servers that kept no sums have none
/// to hold against.
pub(super) fn check(folder: &Path, names: &[&str]) -> io::Result<Vec<Altered>> {
    if !folder.join(SUMS).exists() {
        return Ok(Vec::new());
    }
    let sums = read_sums(folder)?;
    let mut wrong = Vec::new();
    let strange = sums
        .iter()
        .any(|(name, sum)| !names.contains(&&**name) || !is_sum(sum));
    if strange {
        wrong.push(Altered {
            name: SUMS.to_owned(),
            fault: "a line of it was not written by a server".to_owned(),
            sum: sum_of(&fs::read(folder.join(SUMS))?),
        });
    }
    for name in names {
        let bytes = match fs::read(folder.join(name)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                wrong.push(Altered {
                    name: (*name).to_owned(),
                    fault: format!("it cannot be read: {error}"),
                    sum: String::new(),
                });
                continue;
            }
        };
        let sum = sum_of(&bytes);
        if !sums.iter().any(|(of, known)| of == name && *known == sum) {
            wrong.push(Altered {
                name: (*name).to_owned(),
                fault: format!("its content is not what {SUMS} says was written"),
                sum,
            });
        }
    }
    Ok(wrong)
}

fn is_sum(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn read_sums(folder: &Path) -> io::Result<Vec<(String, String)>> {
    let bytes = match fs::read(folder.join(SUMS)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(|line| {
        let (sum, name) = line.split_once(' ').unwrap_or((line, ""));
        (name.to_owned(), sum.to_owned())
    });
    Ok(lines.collect())
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn sum_of(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_small_file_or_of_the_sums_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let names = ["a", "b"];
        write(root, "a", "one\n").unwrap();
        write(root, "b", "two\n").unwrap();
        write(root, "a", "three\n").unwrap();
        assert_eq!(check(root, &names).unwrap(), []);
        for name in ["a", "b", SUMS] {
            let path = root.join(name);
            let sound = fs::read(&path).unwrap();
            let mut missed = Vec::new();
            for bit in 0..8 * sound.len() {
                let mut flipped = sound.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                fs::write(&path, &flipped).unwrap();
                if check(root, &names).unwrap().is_empty() {
                    missed.push(bit);
                }
            }
            // What stands for a file of the past says nothing any more.
            let former = name == SUMS;
            assert!(missed.is_empty() || former, "{name}: {missed:?}");
            assert!(missed.iter().all(|bit| bit / 8 > 66), "{missed:?}");
            fs::write(&path, &sound).unwrap();
        }
    }

    #[test]
    fn a_crash_between_sum_and_file_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "a", "one\n").unwrap();
        let former = fs::read(root.join("a")).unwrap();
        write(root, "a", "two\n").unwrap();
        fs::write(root.join("a"), former).unwrap();
        assert_eq!(check(root, &["a"]).unwrap(), []);
        write(root, "a", "three\n").unwrap();
        assert_eq!(check(root, &["a"]).unwrap(), []);
    }

    /// Who is named when the file is checked, once it was changed.
    fn named(change: impl FnOnce(&Path)) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "a", "one\n").unwrap();
        write(root, "b", "two\n").unwrap();
        change(root);
        let wrong = check(root, &["a", "b"]).unwrap();
        wrong.into_iter().map(|altered| altered.name).collect()
    }

    #[test]
    fn a_sum_counts_for_its_own_file_and_a_line_only_as_a_server_writes_it() {
        let line = |root: &Path, line: &str| {
            let mut sums = fs::read_to_string(root.join(SUMS)).unwrap();
            sums.push_str(line);
            fs::write(root.join(SUMS), sums).unwrap();
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
    }

    #[test]
    fn what_was_altered_is_written_again_and_only_the_last_sums_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "a", "one\n").unwrap();
        fs::write(root.join("a"), "altered\n").unwrap();
        write(root, "a", "one\n").unwrap();
        assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "one\n");

        for text in ["two\n", "three\n", "four\n"] {
            write(root, "a", text).unwrap();
        }
        let sums = fs::read_to_string(root.join(SUMS)).unwrap();
        let kept: Vec<String> = sums.lines().map(str::to_owned).collect();
        let of = |text: &str| format!("{} a", sum_of(text.as_bytes()));
        assert_eq!(kept, [of("four\n"), of("three\n")]);
    }
}
