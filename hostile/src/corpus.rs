//! The inputs that are kept: valid ones, and what the fuzzer found interesting.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder of a target's inputs in the repository.
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target)
}

/// The inputs in a folder with their paths, in the order of their names.
///
/// # Errors
/// If the folder cannot be read.
pub fn read(folder: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    paths.sort_unstable();
    paths
        .into_iter()
        .map(|path| Ok((path.clone(), fs::read(path)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::body::{TARGETS, Took};

    /// What all inputs together may take of the repository.
    const CORPUS_BYTES_MAX: usize = 1_000_000;

    #[test]
    fn every_input_that_is_kept_keeps_every_promise_and_none_is_idle() {
        let mut bytes = 0;
        for target in TARGETS {
            let inputs = read(&folder(target.name)).unwrap();
            bytes += inputs.iter().map(|(_, input)| input.len()).sum::<usize>();
            let took: BTreeSet<Took> = inputs
                .iter()
                .map(|(_, input)| (target.body)(input))
                .collect();
            assert!(
                inputs.len() >= 10 && took.contains(&Took::Read) && took.contains(&Took::Refused),
                "{}: {} inputs, {took:?}",
                target.name,
                inputs.len()
            );
        }
        assert!(bytes < CORPUS_BYTES_MAX, "{bytes} bytes");
    }

    /// The fuzzer's programs and the task that runs them are in workspaces of their own.
    #[test]
    fn the_fuzzer_runs_every_body_and_no_other() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        let names = |text: &str, before: &str| -> BTreeSet<String> {
            let lines = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix(before));
            lines
                .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
                .collect()
        };
        let bodies: BTreeSet<String> = TARGETS
            .iter()
            .map(|target| target.name.to_owned())
            .collect();
        let manifest = text("fuzz/Cargo.toml");
        let programs = manifest.split("[[bin]]").skip(1);
        let programs: BTreeSet<String> = programs.flat_map(|it| names(it, "name = \"")).collect();
        assert_eq!(programs, bodies);
        assert_eq!(names(&text("xtask/src/fuzz.rs"), "(\""), bodies);
        let kept = fs::read_dir(root.join("fuzz/corpus")).unwrap();
        let kept = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(kept.collect::<BTreeSet<String>>(), bodies);
        for name in bodies {
            let program = text(&format!("fuzz/fuzz_targets/{name}.rs"));
            assert!(program.contains(&format!("body::{name}")), "{program}");
        }
    }
}
