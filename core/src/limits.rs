//! Every bound of the core, with its reason. Reaching one has a named outcome where it is checked.

/// Changes in one run. A run is accepted or refused whole, so it stays small enough to resend.
pub const RUN_CHANGES_MAX: usize = 64;

/// Operations of all changes of one run.
pub const RUN_OPERATIONS_MAX: u64 = CHANGE_OPERATIONS_MAX;

/// Bytes at which a device closes a run (architecture: 64 changes or 64 KiB).
pub const RUN_SEAL_BYTES: usize = 64 * 1024;

/// Bytes of a run that is taken: one change may pass [`RUN_SEAL_BYTES`], since a change cannot be
/// cut, up to the largest change plus its envelope.
pub const RUN_BYTES_MAX: usize = CHANGE_BYTES_MAX + RUN_SEAL_BYTES + ENVELOPE_BYTES_MAX;

/// Bytes of one envelope. A full one takes about 330; the rest is room for later keys.
pub const ENVELOPE_BYTES_MAX: usize = 1024;

/// Bytes of one change as received.
pub const CHANGE_BYTES_MAX: usize = 256 * 1024;

/// Bytes of one change after inflating. Automerge itself has no cap.
pub const CHANGE_INFLATED_BYTES_MAX: usize = 1024 * 1024;

/// Inflated bytes for each received byte. Text deflates at most about 20 to 1; raw DEFLATE reaches
/// 1,032 to 1.
pub const CHANGE_INFLATE_RATIO_MAX: usize = 100;

/// Inflated bytes that are taken whatever the ratio: a text of one repeated letter is short on the
/// wire and harmless.
pub const CHANGE_INFLATED_BYTES_FREE: usize = 2 * FIELD_TEXT_BYTES_MAX;

/// Operations in one change. 1.1 KB can hold a million; replacing a text of [`FIELD_TEXT_BYTES_MAX`]
/// by another takes one for each character of both.
pub const CHANGE_OPERATIONS_MAX: u64 = 2 * FIELD_TEXT_BYTES_MAX as u64 + 10_000;

/// Predecessors of all operations of one change together: a run of a few bytes can name billions.
pub const CHANGE_PREDECESSORS_MAX: u64 = 2 * CHANGE_OPERATIONS_MAX;

/// Bytes of one key or mark name. A key stands once in the bytes however many operations repeat
/// it, and once for each of them in memory.
pub const CHANGE_KEY_BYTES_MAX: u64 = 256;

/// Dependencies of one change: concurrent heads that it joins.
pub const CHANGE_DEPS_MAX: usize = 64;

/// Bytes of a change's commit message.
pub const CHANGE_MESSAGE_BYTES_MAX: usize = 1024;

/// Distance of a change's time from 1970, either way, in whatever unit: what every language holds
/// exactly. Automerge stores differences of times, which overflow beyond.
pub const CHANGE_TIME_MAX: u64 = 1 << 53;

/// Actors that one change may name besides its own.
pub const CHANGE_ACTORS_MAX: usize = 256;

/// Highest operation counter that is taken; Automerge overflows near 2^32.
pub const OPERATION_COUNTER_MAX: u64 = 1 << 31;

/// Saved bytes of a document from which the device advises a new one.
pub const DOCUMENT_BYTES_SOFT: usize = 256 * 1024;

/// Saved bytes of a document that are never passed.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a document saved without compression: what a device holds in memory to read it.
pub const DOCUMENT_INFLATED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Inflated bytes of a document that a server sends whole: what may be accepted, and as much again for
/// what was accepted under another bound.
pub const DOCUMENT_FED_BYTES_MAX: usize = 2 * DOCUMENT_INFLATED_BYTES_MAX;

/// Rows of any column of a document that a server sends whole: operations that may be accepted, and as
/// many again.
pub const DOCUMENT_FED_ROWS_MAX: u64 = 2 * DOCUMENT_OPERATIONS_MAX;

/// Objects within objects. Readers everywhere descend by recursion, and a stack has an end.
pub const DOCUMENT_DEPTH_MAX: usize = 64;

/// Values that a document shows at once, concurrent ones and objects included, characters of texts
/// not: proving a document visits each. As many as a hundred fields of a hundred items, which is
/// what a kind of evidence may have.
pub const DOCUMENT_PLACES_MAX: usize = KIND_ITEMS_MAX * FIELD_ITEMS_MAX;

/// Changes of one document: hundreds are usual, and whoever floods a document with as many as it may
/// have makes everybody else wait as long as one more takes to judge. That is half a second on two
/// busy cores where its history has two heads (`cargo xtask bench history`).
pub const DOCUMENT_CHANGES_TAKEN: u64 = 20_000;

/// Changes of one document with those that devices give back: as many as a history that was lost may
/// have had, and as many again that were written meanwhile.
pub const DOCUMENT_CHANGES_RETURNED: u64 = 2 * DOCUMENT_CHANGES_TAKEN;

/// Changes of one document whenever it is built: what was accepted under another bound stays whole.
pub const DOCUMENT_CHANGES_MAX: u64 = 100_000;

/// Operations of one document: twenty for each change that is taken, or fifty fields of text written
/// and deleted. Proving a change took 1.5 to 1.7 µs for each of them (texts of 130,000 to 520,000
/// characters, in the profile of the tests beside other builds), so that a run of 300 bytes costs less
/// than a second.
pub const DOCUMENT_OPERATIONS_MAX: u64 = 400_000;

/// Operations of one document that begin or end a mark on a text: 256 formatted passages, more than a
/// narrative of a few pages has. Automerge takes time with the cube of the marks that lie over each
/// other: of 256 some 70 ms for each time the text is read, of 1,024 over 3 s, of 5,000, which are 40 KB,
/// several minutes.
pub const DOCUMENT_MARKS_MAX: u64 = 512;

/// Operations of a draft that write whether it is ready: more often than anybody declares it. Of each of
/// its runs is asked what it declared then, for which Automerge goes through all of them.
pub const DRAFT_DECLARATIONS_MAX: u64 = 1_000;

/// What the trials of one turn of the ledger cost before it lets others go first: as much as one of the
/// longest document that devices fill, some 0.6 s. Each costs [`TRIAL_COST`], the changes that the
/// document has with what is tried, and one for each [`TRIAL_OPERATIONS`]. Runs that fail are tried in
/// halves, so that a few hundred would keep everybody waiting for minutes.
pub const TURN_COST_MAX: u64 = DOCUMENT_CHANGES_TAKEN;

/// What a trial costs whatever the document: as much as sixteen changes, about half a millisecond.
pub const TRIAL_COST: u64 = 16;

/// Operations that cost a trial as much as a change.
pub const TRIAL_OPERATIONS: u64 = DOCUMENT_OPERATIONS_MAX / DOCUMENT_CHANGES_TAKEN;

/// Changes that cost as much as an operation that begins or ends a mark, where as many marks as may be
/// lie over each other: [`DOCUMENT_MARKS_MAX`] take 160 ms.
pub const TRIAL_MARK_COST: u64 = 10;

/// The same of a document that a server sends whole, and as many again for what was accepted under another
/// bound.
pub const DOCUMENT_FED_MARKS_MAX: u64 = 2 * DOCUMENT_MARKS_MAX;

/// Operations applied to a document in one go, so that memory follows neither a long queue of
/// waiting runs nor how well they deflate.
pub const BATCH_OPERATIONS_MAX: u64 = RUN_OPERATIONS_MAX;

/// Inflated bytes of changes applied to a document in one go.
pub const BATCH_INFLATED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Records in one journal group: grouping gains up to here and no more beyond (measured).
pub const GROUP_RECORDS_MAX: usize = 512;

/// Bytes of one journal group from which no further record joins it.
pub const GROUP_BYTES: usize = 1024 * 1024;

/// Bytes of one journal segment: it is read into memory whole when it is opened or verified.
pub const SEGMENT_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// Bytes of a segment of a server's journal: about one to fill in a second under full load.
pub const SEGMENT_BYTES_SERVER: u32 = 16 * 1024 * 1024;

/// Bytes of a segment of a device's tail: small, because a segment goes once all in it is settled.
pub const SEGMENT_BYTES_DEVICE: u32 = 1024 * 1024;

/// Findings that one verification lists; further ones are counted.
pub const JOURNAL_FINDINGS_MAX: usize = 1_000;

/// Segments whose group starts are kept in memory, about 16 KiB each.
pub const JOURNAL_DIRECTORIES_MAX: usize = 64;

/// Bytes of one journal record; the largest is a run or an imported framework.
pub const RECORD_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bytes of a framework file.
pub const FRAMEWORK_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a region file. The official one has 2.2 MB.
pub const REGIONS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of the name of a region import, such as the decree it follows.
pub const REGIONS_VERSION_BYTES_MAX: usize = 120;

/// Bytes of a region's name. The longest official one has 44; far beyond it, a quote was not closed.
pub const REGION_NAME_BYTES_MAX: usize = 160;

/// Bytes of one encoded region sheet. The largest regency, 880 villages and districts, takes 26,000.
pub const REGION_SHEET_BYTES_MAX: usize = 64 * 1024;

/// Depth of arrays and objects in a framework or in the list of evidence kinds; rows stand at 8.
pub const DEFINITION_NESTING_MAX: usize = 32;

/// Components, indicators and rows of one framework together. Desa Antikorupsi has 114.
pub const FRAMEWORK_ITEMS_MAX: usize = 5_000;

/// Bytes of one code of a framework or an evidence kind.
pub const DEFINITION_CODE_BYTES_MAX: usize = 64;

/// Bytes of one title or label. The longest official title has about 150.
pub const DEFINITION_TITLE_BYTES_MAX: usize = 1024;

/// Evidence kinds, fields of one kind, or options of one field.
pub const KIND_ITEMS_MAX: usize = 100;

/// Bytes of a file of evidence kinds.
pub const KINDS_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a short field, an item of a list or a group of a count: one line of text.
pub const FIELD_STRING_BYTES_MAX: usize = 500;

/// Bytes of a long text given at once; a quarter of what a document advises.
pub const FIELD_TEXT_BYTES_MAX: usize = 64 * 1024;

/// Items of a list or groups of a count.
pub const FIELD_ITEMS_MAX: usize = 100;

/// Digits of a decimal number, enough for a state budget in rupiah with fractions.
pub const FIELD_DECIMAL_DIGITS_MAX: usize = 30;

/// Grants in one invitation or certificate.
pub const GRANTS_MAX: usize = 32;

/// Bytes of a person's name.
pub const PERSON_BYTES_MAX: usize = 120;

/// Bytes of what an administrator says to a finding: a sentence or two.
pub const NOTE_BYTES_MAX: usize = 400;

/// Documents that one device may create in a day.
pub const DEVICE_DOCUMENTS_PER_DAY: u64 = 2_000;

/// Bytes of runs that one device may add in a day.
pub const DEVICE_BYTES_PER_DAY: u64 = 64 * 1024 * 1024;

/// Statements that are taken back at once: their signatures are checked before anything else is
/// accepted, and so many take about 25 ms. A frame of a session holds far fewer.
pub const RETURNED_STATEMENTS_MAX: usize = 512;

/// Bytes of one statement that is taken back: the largest is a framework with its signature.
pub const RETURNED_STATEMENT_BYTES_MAX: usize = FRAMEWORK_BYTES_MAX + 1024;

/// Statements that one device may give back in a day: what a province signs in years. Each is
/// signed by the server and newer than what it knows, so only a journal that was lost needs many.
pub const RETURNED_STATEMENTS_PER_DAY: u64 = 20_000;

/// Bytes of runs and statements that one device may give back in a day, whoever wrote them: four
/// times what it may write itself, since it holds what others wrote.
pub const RETURNED_BYTES_PER_DAY: u64 = 4 * DEVICE_BYTES_PER_DAY;

/// Bytes of cache that a store gets at least: sled shares it among 256 shards and refuses less
/// than a byte for each.
pub const STORE_CACHE_BYTES_MIN: u64 = 1024 * 1024;

/// Milliseconds between two rounds of sled's own thread, which writes out and collects garbage.
pub const STORE_FLUSH_EVERY_MS: u64 = 500;

/// Seconds a store may take to close. sled waits for ever for a thread of its own that panicked.
pub const STORE_CLOSE_SECONDS: u64 = 10;

/// Damaged stores that are kept for whoever looks into them. They can be large.
pub const STORES_DAMAGED_MAX: usize = 3;

/// Levels of nested values shown of an evidence document; its own layout has four. A hostile one
/// could nest until the stack overflows.
pub const EVIDENCE_DEPTH_MAX: usize = 16;

/// Words or list items that may differ before a rewritten text is stored as one replacement: the
/// search for the smallest edits takes memory with the square of it.
pub const TEXT_DIFFERENCES_MAX: usize = 500;

/// Bytes of memory for loaded documents. Some 2,000 pieces of evidence with 20 edits each.
pub const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Records after which the server signs a checkpoint: rare enough to cost nothing, and a device
/// that shows one proves the journal up to at most so many records before its end.
pub const CHECKPOINT_RECORDS: u64 = 1_000;

/// Records that are read before what follows from them is written to the store.
pub const FOLD_RECORDS_MAX: usize = 2_048;

/// Bytes of records or rows from which a batch for the store is written.
pub const FOLD_BYTES: usize = 8 * 1024 * 1024;

/// Records that a verification may still have to read when it lets a serving ledger wait for its last
/// comparison: fewer than a batch of the journal takes to be written.
pub const VERIFY_HELD_RECORDS: u64 = 64;

/// Findings that one verification of the store lists; further ones are counted.
pub const VERIFY_FINDINGS_MAX: usize = 1_000;

/// Units that were moved, ever. Every device gets each with the feed and every session keeps them in
/// mind: some 250 bytes apiece.
pub const MOVED_UNITS_MAX: usize = 10_000;
