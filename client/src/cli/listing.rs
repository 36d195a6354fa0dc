//! The sets of concurrent values as they were last listed, so that a number means what the person
//! saw.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bukti_core::id::{DocumentId, Fingerprint};
use serde::{Deserialize, Serialize};

const NAME: &str = "listed-conflicts.json";

/// Fingerprints by document and by path of the value. What cannot be read counts as never listed:
/// the person is asked to look again.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Listing(BTreeMap<String, BTreeMap<String, String>>);

impl Listing {
    pub(super) fn load(folder: &Path) -> Self {
        fs::read(folder.join(NAME))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Takes down what was shown of a document, in place of what was shown before.
    pub(super) fn show<'p>(
        &mut self,
        document: DocumentId,
        sets: impl IntoIterator<Item = (&'p str, Fingerprint)>,
    ) {
        let sets: BTreeMap<String, String> = sets
            .into_iter()
            .map(|(path, fingerprint)| (path.to_owned(), fingerprint.to_string()))
            .collect();
        match sets.is_empty() {
            true => self.0.remove(&document.to_string()),
            false => self.0.insert(document.to_string(), sets),
        };
    }

    /// Drops documents that no longer have anything to choose.
    pub(super) fn keep_only(&mut self, documents: &[DocumentId]) {
        let open: Vec<String> = documents.iter().map(ToString::to_string).collect();
        self.0.retain(|document, _sets| open.contains(document));
    }

    /// The set that was shown at `path`.
    pub(super) fn shown(&self, document: DocumentId, path: &str) -> Option<&str> {
        let sets = self.0.get(&document.to_string())?;
        sets.get(path).map(String::as_str)
    }

    /// Replaces the file in one step. Losing it costs one look, so it is not synced.
    pub(super) fn save(&self, folder: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec(self)?;
        let made: PathBuf = folder.join(format!("{NAME}.new"));
        fs::File::create(&made)?.write_all(&bytes)?;
        fs::rename(made, folder.join(NAME))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: DocumentId = DocumentId([1; 16]);
    const B: DocumentId = DocumentId([2; 16]);

    #[test]
    fn what_was_listed_is_known_to_the_next_command() {
        let folder = tempfile::tempdir().unwrap();
        let mut listing = Listing::load(folder.path());
        assert_eq!(listing, Listing::default());
        listing.show(A, [("title", Fingerprint([7; 16]))]);
        listing.save(folder.path()).unwrap();
        let listing = Listing::load(folder.path());
        assert_eq!(listing.shown(A, "title"), Some("07".repeat(16).as_str()));
        assert_eq!(listing.shown(A, "narrative"), None);
        assert_eq!(listing.shown(B, "title"), None);
    }

    #[test]
    fn a_later_look_replaces_the_earlier_one() {
        let mut listing = Listing::default();
        listing.show(
            A,
            [
                ("title", Fingerprint([7; 16])),
                ("medium", Fingerprint([8; 16])),
            ],
        );
        listing.show(B, [("title", Fingerprint([9; 16]))]);
        listing.show(A, [("medium", Fingerprint([6; 16]))]);
        assert_eq!(listing.shown(A, "title"), None);
        assert_eq!(listing.shown(A, "medium"), Some("06".repeat(16).as_str()));
        listing.keep_only(&[B]);
        assert_eq!(listing.shown(A, "medium"), None);
        assert!(listing.shown(B, "title").is_some());
    }

    #[test]
    fn a_damaged_file_counts_as_never_listed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), "{").unwrap();
        assert_eq!(Listing::load(folder.path()), Listing::default());
    }
}
