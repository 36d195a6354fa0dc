//! The guards as data: `tests/guards/*.toml`, one file for each area.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;

/// Where the lists lie in the workspace.
pub const FOLDER: &str = "tests/guards";

/// One guard and what takes it out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// What is promised, in one sentence.
    pub holds: String,
    /// The file that it stands in, from the root of the workspace.
    pub file: PathBuf,
    /// A piece of the file that occurs once in it.
    pub find: String,
    /// What stands there without the guard; it compiles.
    pub replace: String,
    /// The package whose tests notice.
    pub package: String,
    /// What their names contain: one filter, or several between spaces of which one is enough.
    pub tests: String,
    /// The test binary, or `bukti` for that program's own tests; the library's where none is named.
    pub binary: Option<String>,
    /// How the tests end without the guard.
    #[serde(default)]
    pub ends: Ending,
}

impl Guard {
    /// The tests that are run for it.
    pub fn selection(&self) -> Selection {
        Selection {
            package: self.package.clone(),
            binary: self.binary.clone(),
            filters: self.tests.split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// The text of its file without the guard.
    ///
    /// # Errors
    /// How often its piece occurs, if not once.
    pub fn taken_out_of(&self, text: &str) -> Result<String, usize> {
        let count = text.matches(&self.find).count();
        if self.find.is_empty() || count != 1 {
            return Err(count);
        }
        Ok(text.replacen(&self.find, &self.replace, 1))
    }
}

/// How the tests end without a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// At least one fails.
    #[default]
    Fails,
    /// One waits without end, and the bound on their time ends them.
    Hangs,
    /// The process breaks off: a stack overflows, or memory reaches its bound.
    Aborts,
}

/// Some tests of one binary.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selection {
    /// The package.
    pub package: String,
    /// The test binary, or the library's own tests.
    pub binary: Option<String>,
    /// What their names contain.
    pub filters: Vec<String>,
}

/// The guards of one list.
#[derive(Debug, Clone)]
pub struct Area {
    /// The name of the list's file.
    pub name: String,
    /// Its guards as they stand there.
    pub guards: Vec<Guard>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    guard: Vec<Guard>,
}

/// Why the lists cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The system failed.
    #[error("cannot read {}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A list is not in the form it has to have.
    #[error("{} is not a list of guards: {message}", path.display())]
    Malformed {
        /// The list.
        path: PathBuf,
        /// What is wrong, with the place.
        message: String,
    },
}

/// Reads all lists of a workspace, by name.
///
/// # Errors
/// The first list that cannot be read.
pub fn read(workspace: &Path) -> Result<Vec<Area>, ListError> {
    let folder = workspace.join(FOLDER);
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| ListError::Io { path, source }
    };
    let mut areas = BTreeMap::new();
    for entry in fs::read_dir(&folder).map_err(failed(&folder))? {
        let path = entry.map_err(failed(&folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let Some(area) = name.strip_suffix(".toml") else {
            continue;
        };
        let text = fs::read_to_string(&path).map_err(failed(&path))?;
        let guards = parse(&text).map_err(|message| ListError::Malformed {
            path: path.clone(),
            message,
        })?;
        areas.insert(area.to_owned(), guards);
    }
    let named = |(name, guards)| Area { name, guards };
    Ok(areas.into_iter().map(named).collect())
}

fn parse(text: &str) -> Result<Vec<Guard>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    Ok(file.guard)
}

/// Everything that is wrong with the lists as far as the sources show it, one line each.
pub fn faults(workspace: &Path, areas: &[Area]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut sources = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for area in areas {
        for guard in &area.guards {
            let mut fault = |what: String| {
                faults.push(format!("{}: '{}' {what}", area.name, guard.holds));
            };
            if guard.holds.trim().is_empty() || guard.holds.contains('\n') {
                fault("is not one sentence".into());
            }
            match fs::read_to_string(workspace.join(&guard.file)).map(|t| guard.taken_out_of(&t)) {
                Err(error) => fault(format!("names {}: {error}", guard.file.display())),
                Ok(Err(count)) => fault(format!("is found {count} times, not once")),
                Ok(Ok(_)) if guard.find == guard.replace => fault("takes nothing out".into()),
                Ok(Ok(_)) => {}
            }
            if !seen.insert((&guard.file, &guard.find, &guard.replace)) {
                fault("is listed twice".into());
            }
            let source = sources
                .entry(guard.package.as_str())
                .or_insert_with(|| sources_of(workspace, &guard.package));
            let Some(source) = source else {
                fault(format!("names the package {}", guard.package));
                continue;
            };
            if guard.tests.trim().is_empty() {
                fault("names no tests".into());
            }
            let unknown = guard.tests.split_whitespace().find(|f| !names(source, f));
            if let Some(filter) = unknown {
                fault(format!("names tests '{filter}', of which there are none"));
            }
            let of_program = guard
                .tests
                .split_whitespace()
                .any(|f| f.starts_with("cli::"));
            if of_program && guard.binary.as_deref() != Some(PROGRAM) {
                fault(format!(
                    "names tests of the program '{PROGRAM}', and not that"
                ));
            }
        }
    }
    faults
}

/// The program with tests of its own: the command line of a device is no part of the library.
pub(super) const PROGRAM: &str = "bukti";

/// A file of a package.
struct Source {
    /// Where its module stands, with `::` between the parts.
    module: String,
    text: String,
}

/// All Rust of a package; nothing if the workspace has no such package.
fn sources_of(workspace: &Path, package: &str) -> Option<Vec<Source>> {
    let root = workspace.join(package.strip_prefix("bukti-").unwrap_or(package));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).ok()?;
    if !manifest.contains(&format!("name = \"{package}\"\n")) {
        return None;
    }
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).ok()?;
                let module = path.strip_prefix(&root).ok()?.with_extension("");
                let parts = module.iter().map(|part| part.to_string_lossy());
                let module = parts.collect::<Vec<_>>().join("::");
                sources.push(Source { module, text });
            }
        }
    }
    Some(sources)
}

/// Whether a file has tests whose names contain a filter: its module ends with the first parts, and
/// it has modules or functions that begin like the others, or the module contains the whole.
fn names(sources: &[Source], filter: &str) -> bool {
    let parts: Vec<_> = filter.split("::").filter(|part| !part.is_empty()).collect();
    let is_in = |source: &Source| {
        let has = |part: &&str| {
            let text = &source.text;
            text.contains(&format!("mod {part}")) || text.contains(&format!("fn {part}"))
        };
        let leads = |count: &usize| source.module.ends_with(&parts[..*count].join("::"));
        let splits = (0..parts.len()).filter(leads);
        source.module.contains(&parts.join("::"))
            || splits
                .into_iter()
                .any(|count| parts[count..].iter().all(has))
    };
    !parts.is_empty() && sources.iter().any(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"
[[guard]]
holds = "a count is checked"
file = "core/src/count.rs"
find = "if count > MAX {"
replace = "if false {"
package = "bukti-core"
tests = "count::"
"#;

    #[test]
    fn an_entry_names_its_piece_and_the_tests_that_miss_it() {
        let guards = parse(ENTRY).unwrap();
        let [guard] = &guards[..] else {
            panic!("{guards:?}")
        };
        assert_eq!(guard.ends, Ending::Fails);
        assert_eq!(guard.selection().filters, ["count::"]);
        let text = "fn f() {\n    if count > MAX {\n    }\n}";
        assert_eq!(
            guard.taken_out_of(text).unwrap(),
            "fn f() {\n    if false {\n    }\n}"
        );
    }

    #[test]
    fn a_piece_that_is_not_there_once_takes_nothing_out() {
        let guard = &parse(ENTRY).unwrap()[0];
        assert_eq!(guard.taken_out_of("nothing"), Err(0));
        let twice = "if count > MAX { if count > MAX {";
        assert_eq!(guard.taken_out_of(twice), Err(2));
    }

    #[test]
    fn an_entry_with_a_key_too_few_or_too_many_is_refused_by_name() {
        let without = ENTRY.replace("tests = \"count::\"\n", "");
        assert!(parse(&without).unwrap_err().contains("tests"));
        let misspelt = format!("{ENTRY}end = \"hangs\"\n");
        assert!(parse(&misspelt).unwrap_err().contains("end"));
        let hangs = format!("{ENTRY}ends = \"hangs\"\n");
        assert_eq!(parse(&hangs).unwrap()[0].ends, Ending::Hangs);
    }

    #[test]
    fn what_no_longer_fits_the_sources_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("core/src")).unwrap();
        fs::write(root.join("core/Cargo.toml"), "name = \"bukti-core\"\n").unwrap();
        let source = "if count > MAX {\nmod count {\nfn the_count_is_bounded() {";
        fs::write(root.join("core/src/count.rs"), source).unwrap();
        fs::write(root.join("core/src/other.rs"), "fn of_others() {}").unwrap();
        let fault_of = |alter: &dyn Fn(&mut Guard)| {
            let mut guard = parse(ENTRY).unwrap().remove(0);
            alter(&mut guard);
            let area = Area {
                name: "counts".into(),
                guards: vec![guard],
            };
            faults(root, &[area]).join("\n")
        };
        assert_eq!(fault_of(&|_| {}), "");
        assert_eq!(fault_of(&|g| g.tests = "count::the_count".into()), "");
        type Alter = fn(&mut Guard);
        let cases: [(Alter, &str); 10] = [
            (|g| g.holds = String::new(), "one sentence"),
            (
                |g| g.file = "core/src/none.rs".into(),
                "names core/src/none.rs",
            ),
            (|g| g.find = "if count < MAX {".into(), "found 0 times"),
            (|g| g.find = "co".into(), "found 3 times"),
            (|g| g.replace = g.find.clone(), "takes nothing out"),
            (
                |g| g.package = "bukti-none".into(),
                "the package bukti-none",
            ),
            (|g| g.tests = " ".into(), "names no tests"),
            (|g| g.tests = "count::gone".into(), "'count::gone'"),
            (
                |g| g.tests = "other::the_count".into(),
                "'other::the_count'",
            ),
            (|g| g.tests = "cli::count".into(), "the program 'bukti'"),
        ];
        for (alter, expected) in cases {
            let found = fault_of(&alter);
            assert!(found.contains(expected), "{expected}: {found}");
        }
    }
}
