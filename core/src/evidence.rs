//! One piece of evidence as an Automerge document that merges by itself.
//!
//! [`create`] starts a document and [`edit`] changes it, each as one Automerge change under an
//! actor that the caller names. [`view`] reads what everybody with the same heads sees, including
//! the [`Conflict`]s that wait for a choice. [`contributions`] and [`history`] say who wrote what,
//! [`restage`] turns work that was refused into edits again, and [`words`] reads a change whose
//! document is not here. `docs/evidence.md` describes the
//! layout of the document.
//!
//! Values are stored as given: whether they fit their kind is for [`crate::kind`] to say. Reading
//! tolerates every document that Automerge can load.

mod conflict;
mod content;
mod edit;
mod model;
mod provenance;
mod restage;
mod text;
mod view;
mod words;

pub use conflict::{ConcurrentValue, Conflict, own_actor};
pub use content::Content;
pub use edit::{Edit, EditError, create, edit};
pub use model::{Declared, FieldPath, FileEntry, NewEvidence, Origin, Place, Value, key};
pub use provenance::{Contribution, Difference, HistoryEntry, contributions, differences, history};
pub use restage::restage;
pub use view::{EvidenceView, FrameworkVersion, MarkView, reads_ready, view};
pub use words::{Words, words};

#[cfg(test)]
mod tests;
