//! What ARCHITECTURE.md says of the code, held against the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Lines of a source file from which it wants to be two.
const LINES_MAX: usize = 800;

#[test]
fn packages_depend_on_each_other_in_one_direction() {
    let packages = Packages::read();
    let allowed: [(&str, &[&str]); 9] = [
        ("bukti-core", &[]),
        ("bukti-command", &[]),
        ("bukti-sync-protocol", &["bukti-core"]),
        (
            "bukti-server",
            &["bukti-core", "bukti-sync-protocol", "bukti-command"],
        ),
        (
            "bukti-client",
            &["bukti-core", "bukti-sync-protocol", "bukti-command"],
        ),
        ("bukti-hostile", &["bukti-core", "bukti-sync-protocol"]),
        (
            "bukti-tests",
            &[
                "bukti-core",
                "bukti-sync-protocol",
                "bukti-command",
                "bukti-server",
                "bukti-client",
                "bukti-hostile",
            ],
        ),
        (
            "bukti-bench",
            &[
                "bukti-core",
                "bukti-sync-protocol",
                "bukti-command",
                "bukti-server",
                "bukti-client",
                "bukti-tests",
            ],
        ),
        ("xtask", &[]),
    ];
    let allowed: BTreeMap<&str, &[&str]> = allowed.into_iter().collect();
    for (package, needs) in &packages.workspace {
        let Some(allowed) = allowed.get(package.as_str()) else {
            panic!("{package} has no place in the direction of dependencies");
        };
        for need in needs {
            assert!(
                allowed.contains(&need.as_str()),
                "{package} must not need {need}"
            );
        }
    }
    assert_eq!(packages.workspace.len(), allowed.len());
}

#[test]
fn the_core_and_the_protocol_know_no_runtime_and_no_web_server() {
    let packages = Packages::read();
    for package in ["bukti-core", "bukti-sync-protocol"] {
        let tree = packages.tree(package);
        assert!(tree.contains("automerge"), "{package}: {tree:?}");
        for absent in ["tokio", "axum", "hyper", "tungstenite", "chrono"] {
            assert!(!tree.contains(absent), "{package} needs {absent}");
        }
    }
    assert!(packages.tree("bukti-server").contains("tokio"));
}

#[test]
fn one_file_knows_the_store_and_two_in_the_core_know_files() {
    let naming = |word: &str, under: &str| -> BTreeSet<String> {
        let files = Source::all().into_iter();
        files
            .filter(|file| file.path.starts_with(under) && !file.is_test)
            .filter(|file| file.program().contains(word))
            .map(|file| file.path)
            .collect()
    };
    let own = |names: &[&str]| -> BTreeSet<String> { names.iter().map(|&n| n.into()).collect() };
    assert_eq!(naming(" ::sled::", ""), own(&["core/src/kv/sled.rs"]));
    assert_eq!(naming("use sled", ""), own(&[]));
    assert_eq!(
        naming("std::fs", "core/"),
        own(&["core/src/journal/disk.rs", "core/src/kv/sled.rs"])
    );
    assert_eq!(naming("std::fs", "sync-protocol/"), own(&[]));
}

#[test]
fn http_status_codes_are_the_servers_alone() {
    for file in Source::all() {
        if !file.path.starts_with("server/") && !file.path.starts_with("tests/") {
            assert!(
                !file.program().contains("StatusCode"),
                "{} names a status code",
                file.path
            );
        }
    }
}

#[test]
fn the_core_and_the_protocol_read_no_clock_no_chance_and_no_environment() {
    for file in Source::all() {
        let pure = file.path.starts_with("core/") || file.path.starts_with("sync-protocol/");
        if !pure || file.is_test || file.path.ends_with("kv/sled.rs") {
            continue;
        }
        for word in [
            "SystemTime",
            "Instant::now",
            "std::env",
            "getrandom",
            "std::net",
        ] {
            assert!(!file.program().contains(word), "{} names {word}", file.path);
        }
    }
}

#[test]
fn source_files_stay_short() {
    for file in Source::all() {
        let lines = file.text.lines().count();
        assert!(
            file.is_test || lines <= LINES_MAX,
            "{} has {lines} lines",
            file.path
        );
    }
}

#[test]
fn every_path_that_the_architecture_names_exists() {
    let text = read("ARCHITECTURE.md");
    let mut named = 0;
    for word in quoted(&text).chain(linked(&text)) {
        let is_path = word.ends_with('/') || word.ends_with(".rs") || word.ends_with(".md");
        if !is_path || word.starts_with('/') || word.contains(' ') || word.contains("://") {
            continue;
        }
        named += 1;
        let found = [root().join(&word), root().join("core/src").join(&word)];
        assert!(
            found.iter().any(|path| path.exists()),
            "ARCHITECTURE.md names {word}"
        );
    }
    assert!(named > 20, "only {named} paths were found");
    let packages = Packages::read();
    for package in packages.workspace.keys() {
        assert!(
            text.contains(package),
            "ARCHITECTURE.md leaves out {package}"
        );
    }
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let pages = walk(&root()).into_iter();
    for page in pages.filter(|path| path.ends_with(".md")) {
        let folder = root().join(&page);
        let folder = folder.parent().unwrap();
        for target in linked(&read(&page)) {
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere = target.contains("://") || path.is_empty();
            assert!(
                elsewhere || folder.join(path).exists(),
                "{page} links to {target}"
            );
        }
    }
}

#[test]
fn every_key_of_the_servers_configuration_is_shown_and_explained() {
    let source = read("server/src/config.rs");
    let (_, after) = source.split_once("pub struct Config {").unwrap();
    let (fields, _) = after.split_once("\n}").unwrap();
    let fields: BTreeSet<&str> = fields
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next())
        .collect();
    let example = read("server/server.example.toml");
    let mut shown = BTreeSet::new();
    for paragraph in example.split("\n\n") {
        let mut explained = false;
        for line in paragraph.lines() {
            let key = line
                .trim_start_matches("# ")
                .split(" = ")
                .next()
                .unwrap_or_default();
            if fields.contains(key) {
                assert!(explained, "{key} stands without a word above it");
                shown.insert(key);
            } else {
                assert!(line.starts_with('#'), "'{line}' is no key");
                explained = true;
            }
        }
    }
    assert_eq!(shown, fields);
}

#[test]
fn nothing_is_left_to_be_done_later() {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
    ];
    for path in walk(&root()) {
        let Ok(text) = fs::read_to_string(root().join(&path)) else {
            continue;
        };
        for (at, line) in text.lines().enumerate() {
            let mut tokens = line.split(|letter: char| !letter.is_ascii_alphanumeric());
            assert!(
                !tokens.any(|token| words.contains(&token)),
                "{path}:{}: {line}",
                at + 1
            );
        }
    }
}

#[test]
fn every_code_of_the_protocol_page_is_one_of_the_program_and_the_other_way_round() {
    let page = read("docs/protocol.md");
    let (_, after) = page.split_once("`rejected`: ").unwrap();
    let (list, _) = after.split_once(". Each").unwrap();
    let documented: BTreeSet<String> = quoted(list).collect();
    let known: BTreeSet<String> = bukti_core::validate::RefusalCode::ALL
        .iter()
        .map(|code| code.code().to_owned())
        .collect();
    assert_eq!(documented, known);
}

/// The platform that cargo runs and builds on.
fn host() -> String {
    let output = Command::new(env!("CARGO")).arg("-vV").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().find_map(|line| line.strip_prefix("host: "));
    line.expect("cargo names its host").to_owned()
}

/// The workspace as cargo sees it.
struct Packages {
    /// Members with the members that they need, tests included.
    workspace: BTreeMap<String, BTreeSet<String>>,
    names: BTreeMap<String, String>,
    /// What each package needs to be built into a program, by id.
    needs: BTreeMap<String, Vec<String>>,
}

impl Packages {
    fn read() -> Self {
        // What other platforms need was never fetched where nothing but this was built.
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--offline"])
            .args(["--filter-platform", &host()])
            .current_dir(root())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let list = |value: &Value| value.as_array().unwrap().clone();

        let mut names = BTreeMap::new();
        for package in list(&metadata["packages"]) {
            names.insert(text(&package["id"]), text(&package["name"]));
        }
        let members: BTreeSet<String> = list(&metadata["workspace_members"])
            .iter()
            .map(text)
            .collect();
        let mut workspace = BTreeMap::new();
        let mut needs = BTreeMap::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            let id = text(&node["id"]);
            let mut own = BTreeSet::new();
            let mut built_in = Vec::new();
            for need in list(&node["deps"]) {
                let package = text(&need["pkg"]);
                if members.contains(&package) {
                    own.insert(names[&package].clone());
                }
                let kinds = list(&need["dep_kinds"]);
                if kinds.iter().any(|kind| kind["kind"].is_null()) {
                    built_in.push(package);
                }
            }
            if members.contains(&id) {
                workspace.insert(names[&id].clone(), own);
            }
            needs.insert(id, built_in);
        }
        Self {
            workspace,
            names,
            needs,
        }
    }

    /// Names of everything that is built into a program with `package`.
    fn tree(&self, package: &str) -> BTreeSet<&str> {
        let start = self.names.iter().find(|(_, name)| *name == package);
        let mut pending = vec![start.unwrap().0];
        let mut seen = BTreeSet::new();
        while let Some(id) = pending.pop() {
            if seen.insert(self.names[id].as_str()) {
                pending.extend(&self.needs[id]);
            }
        }
        seen
    }
}

/// A Rust file of the workspace.
struct Source {
    path: String,
    text: String,
    /// Built for tests only.
    is_test: bool,
}

impl Source {
    fn all() -> Vec<Self> {
        let paths = walk(&root());
        let rust: Vec<String> = paths
            .into_iter()
            .filter(|path| path.ends_with(".rs"))
            .collect();
        let texts: Vec<(String, String)> = rust
            .into_iter()
            .map(|path| (path.clone(), read(&path)))
            .collect();
        let tests: Vec<String> = texts
            .iter()
            .flat_map(|(path, text)| test_modules(path, text))
            .collect();
        let is_test = |path: &str| {
            path.starts_with("tests/")
                || tests.iter().any(|module| {
                    path.strip_prefix(module.as_str())
                        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
                })
        };
        let sources: Vec<Self> = texts
            .into_iter()
            .map(|(path, text)| Self {
                is_test: is_test(&path),
                path,
                text,
            })
            .collect();
        assert!(sources.len() > 100, "only {} files", sources.len());
        assert!(sources.iter().any(|source| source.is_test));
        sources
    }

    /// The code that goes into programs, without comments.
    fn program(&self) -> String {
        let code = self.text.split("#[cfg(test)]\nmod tests {").next();
        code.unwrap_or_default()
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .flat_map(|line| [line, "\n"])
            .collect()
    }
}

/// Paths, without their ends, of the modules that `path` declares for tests only.
fn test_modules(path: &str, text: &str) -> Vec<String> {
    let folder = match path.rsplit_once('/') {
        Some((folder, "lib.rs" | "main.rs")) => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    };
    let mut modules = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            continue;
        }
        let declared = lines.peek().and_then(|next| {
            let (_, name) = next.trim().split_once("mod ")?;
            name.strip_suffix(';')
        });
        modules.extend(declared.map(|name| format!("{folder}/{name}")));
    }
    modules
}

/// Files of the workspace, by their paths in it; what builds leave behind is none of them.
fn walk(folder: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if ["target", ".git", "node_modules"].contains(&name.as_str()) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            paths.extend(walk(&entry.path()));
        } else {
            let path = entry.path();
            let path = path.strip_prefix(root()).unwrap();
            paths.push(path.to_str().unwrap().to_owned());
        }
    }
    paths.sort();
    paths
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// Where the links of a page lead.
fn linked(text: &str) -> impl Iterator<Item = String> {
    text.split("](").skip(1).filter_map(|rest| {
        let (target, _) = rest.split_once(')')?;
        Some(target.to_owned())
    })
}
