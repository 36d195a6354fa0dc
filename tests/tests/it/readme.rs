//! "Five minutes" of the README, typed as it stands there.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bukti_tests::process::{Printed, binary};

/// What is in the code blocks below the heading, one command each, in order.
fn commands() -> Vec<String> {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let (_, section) = readme.split_once("\n## Five minutes\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks = section.split("\n```").skip(1).step_by(2);
    let lines: String = blocks.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    lines
        .lines()
        .flat_map(|line| line.split(';'))
        .flat_map(|part| part.split(" && "))
        .map(|command| command.trim().to_owned())
        .filter(|command| !command.is_empty())
        .collect()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The words of a command as a shell sees them: blanks separate, quotes hold together.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quote, mut begun) = (None, false);
    for character in command.chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (Some(_), inside) => word.push(inside),
            (None, '"' | '\'') => (quote, begun) = (Some(character), true),
            (None, ' ') => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (None, other) => {
                word.push(other);
                begun = true;
            }
        }
    }
    assert_eq!(quote, None, "a quote is open in: {command}");
    if begun {
        words.push(word);
    }
    words
}

/// A reader with a terminal in a copy of the repository.
struct Reader {
    folder: tempfile::TempDir,
    server: Option<Child>,
    /// Links printed and not used yet, the first first.
    links: Vec<String>,
    id: Option<String>,
    /// What was typed, with what came of it.
    seen: Vec<(String, Printed)>,
}

impl Reader {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(repository()).unwrap().map(Result::unwrap) {
            let (there, here) = (entry.path(), folder.path().join(entry.file_name()));
            if entry.file_name() == "core" {
                symlink(there, here).unwrap();
            } else if there.is_dir() && entry.file_name() != "try" {
                // A folder that somebody else made and filled, as a reader finds it.
                fs::create_dir(&here).unwrap();
                fs::write(here.join("file"), "").unwrap();
                fs::set_permissions(&here, Permissions::from_mode(0o755)).unwrap();
            }
        }
        Self {
            folder,
            server: None,
            links: Vec::new(),
            id: None,
            seen: Vec::new(),
        }
    }

    fn types(&mut self, command: &str) {
        match command.strip_suffix(" &") {
            Some(command) => self.starts(command),
            None => {
                let typed = self.fills_in(command);
                let printed = self.runs(&typed);
                assert_eq!(printed.status, Some(0), "{command}: {printed:?}");
                self.notes(command, &printed);
                self.seen.push((command.to_owned(), printed));
            }
        }
    }

    /// Starts the server in the background, on a free port.
    fn starts(&mut self, command: &str) {
        let typed = words(command);
        let mut child = Command::new(binary(&typed[0]))
            .args(&typed[1..])
            .args(["--listen", "127.0.0.1:0"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        self.server = Some(child);
        assert!(line.starts_with("listening on http://"), "{line}");
        // Read on, so that the server never waits for its reader.
        std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
    }

    /// Puts the link and the id where the README has signs for them.
    fn fills_in(&mut self, command: &str) -> Vec<String> {
        let mut typed = words(command);
        for word in &mut typed {
            if word == "ID" {
                *word = self.id.clone().expect("an id was printed before");
            } else if word == "http://127.0.0.1:8420/enrol#…" {
                *word = self.links.remove(0);
            }
        }
        typed
    }

    fn runs(&self, typed: &[String]) -> Printed {
        let output = Command::new(binary(&typed[0]))
            .args(&typed[1..])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Printed {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            status: output.status.code(),
        }
    }

    /// Copies from the screen what later commands need: a line that is a link or an id.
    fn notes(&mut self, command: &str, printed: &Printed) {
        let first = printed.stdout.lines().next().unwrap_or_default().to_owned();
        if command.starts_with("bukti-server invite") {
            assert!(first.contains("/enrol#"), "{printed:?}");
            self.links.push(first);
        } else if command.starts_with("bukti evidence new") {
            self.id = Some(first);
        }
    }

    /// What the first command that begins so printed.
    fn saw(&self, begins: &str) -> &str {
        let found = self
            .seen
            .iter()
            .find(|(command, _)| command.starts_with(begins));
        let (_, printed) = found.unwrap_or_else(|| panic!("the README has no '{begins}'"));
        &printed.stdout
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

#[test]
fn the_five_minutes_of_the_readme_work_as_they_are_written() {
    let commands = commands();
    assert!(commands.len() > 20, "{commands:#?}");
    let mut reader = Reader::new();
    for command in &commands {
        reader.types(command);
    }
    let indicators = reader.saw("bukti indicators");
    assert!(indicators.contains("I.1.3"), "{indicators}");
    let history = reader.saw("bukti evidence history");
    assert!(
        history.contains("Sari") && history.contains("Budi"),
        "{history}"
    );
    let conflicts = reader.saw("bukti conflicts");
    assert!(
        conflicts.contains("3/2025") && conflicts.contains("03"),
        "{conflicts}"
    );
    let listed = reader.saw("bukti evidence list --data try/wati");
    assert!(listed.contains("Perdes APBDes 2025"), "{listed}");
    let verified = reader.saw("bukti-server verify");
    assert!(verified.contains("verify: ok"), "{verified}");
    let chosen = reader
        .runs(&words("bukti conflicts --data try/wati --json"))
        .json();
    assert_eq!(chosen["conflicts"], serde_json::json!([]));
}

#[test]
fn a_link_of_the_readme_enrols_one_device_once() {
    let mut reader = Reader::new();
    let commands = commands();
    let enrols = |command: &&String| command.starts_with("bukti enrol");
    let first = commands
        .iter()
        .position(|command| enrols(&command))
        .unwrap();
    for command in &commands[..first] {
        reader.types(command);
    }
    let link = reader.links[0].clone();
    reader.types(&commands[first]);
    let again = reader.runs(&["bukti", "enrol", "--data", "try/other", &link].map(str::to_owned));
    assert_eq!(again.status, Some(2), "{again:?}");
    assert!(again.stderr.contains("used"), "{again:?}");
}

#[test]
fn the_readme_names_every_command_of_the_server() {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let help = bukti_tests::process::run("bukti-server", &["--help"], &[]).ok();
    let (_, listed) = help.stdout.split_once("Commands:\n").unwrap();
    let (listed, _) = listed.split_once("\n\n").unwrap();
    let commands: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() > 10, "{listed}");
    let missing: Vec<&&str> = commands
        .iter()
        .filter(|command| {
            !readme.contains(&format!("`{command}`"))
                && !readme.contains(&format!("bukti-server {command} "))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn words_are_split_as_a_shell_does() {
    assert_eq!(
        words("a  --b \"c d\" 'e#f' g\"h i\" \"\""),
        ["a", "--b", "c d", "e#f", "gh i", ""]
    );
}
