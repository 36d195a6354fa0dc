//! Every bound of the protocol, with its reason. Reaching one has a named outcome where it is
//! checked, mostly a [`Bye`](crate::bye::Bye).

use bukti_core::limits::{
    GRANTS_MAX, RETURNED_STATEMENT_BYTES_MAX, RETURNED_STATEMENTS_MAX, RUN_BYTES_MAX,
};

/// Version of the protocol that this crate speaks.
pub const VERSION: u32 = 1;

/// Bytes of one frame. The longest takes 0.7 s at 50 kbit/s, and a cut costs no more than that.
pub const FRAME_BYTES_MAX: usize = 4_096;

/// Bytes of one frame after inflating. A page of text deflates at most about 16 to 1.
pub const FRAME_INFLATED_BYTES_MAX: usize = 65_536;

/// Arrays and maps inside one another in a frame. Known frames need seven: the frame, its map, a
/// list, an item, its list and an entry; the rest is room for later keys.
pub const NESTING_MAX: usize = 12;

/// Milliseconds until the first frame must be there, and for which a stale device is heard out.
pub const FIRST_FRAME_MS: u64 = 10_000;

/// Milliseconds that a device waits for an answer, and a server for a proof or its journal's word on
/// an enrolment. Some links take 800 ms a way and stall for seconds; a minute without a byte is a
/// dead one.
pub const ANSWER_MS: u64 = 60_000;

/// Milliseconds between WebSocket pings, and for the answer to one. The driver sends them.
pub const PING_MS: u64 = 30_000;

/// Bytes of `push` and `fragment` frames that a device may send before `welcome`.
pub const FLIGHT_BYTES: u64 = 16 * 1024;

/// Frames of any kind that a device may send before `welcome`. A flight with enrolment, two
/// hellos' worth of `subscribe` and the pushes that fit [`FLIGHT_BYTES`] stays well below.
pub const FRAMES_BEFORE_WELCOME_MAX: u32 = 64;

/// Bytes of `push`, `feed` and `fragment` frames that a side lets the other send ahead: three
/// seconds of a 160 kbit/s link with a second of delay each way stay filled.
pub const CREDIT_WINDOW: u64 = 64 * 1024;

/// Bytes of dealt-with frames that are worth a `credit` frame.
pub const CREDIT_STEP: u64 = 16 * 1024;

/// Credit that may stand open. A device that grants more hands out numbers, not memory.
pub const CREDIT_MAX: u64 = 1024 * 1024;

/// Bytes of runs of one session that wait for the journal while the session still gives credit.
pub const UNJUDGED_BYTES: u64 = 128 * 1024;

/// Runs of one session that wait for the journal while the session still gives credit. Each has a
/// signature and a hash, 96 bytes that do not deflate, so the credit that is out then holds at most
/// 853 more.
pub const UNJUDGED_RUNS: usize = 128;

/// Frames a second outside of credit, with as many at once. A person's device sends a handful.
pub const FREE_FRAMES_PER_SECOND: u32 = 64;

/// Documents that one page names as left: each is a frame of some 25 bytes outside of credit.
pub const LEFT_PER_PAGE: usize = 64;

/// Milliseconds after which a device may try a full disk or a damaged journal again: somebody has to
/// make room or put a file back.
pub const REPAIR_RETRY_MS: u64 = 5 * 60 * 1000;

/// Unfinished items that one side keeps for the other. One travels at a time; others are what
/// earlier sessions left.
pub const PARTIALS_MAX: usize = 4;

/// Bytes of unfinished items that the server keeps for a device: a statement and a run of the
/// largest sizes.
pub const PARTIAL_BYTES_SERVER: usize = STATEMENT_ITEM_BYTES_MAX + RUN_ITEM_BYTES_MAX;

/// Bytes of a returned statement as an item: the record and the byte that tells its encoding.
pub const STATEMENT_ITEM_BYTES_MAX: usize = RETURNED_STATEMENT_BYTES_MAX + 1;

/// Bytes of a run as an item: the run and the byte that tells its encoding.
pub const RUN_ITEM_BYTES_MAX: usize = RUN_BYTES_MAX + 1;

/// Bytes of a feed item, packed or not. A document with the most changes that are taken, each in
/// a run of its own, has envelopes of about 38 MB; all others are far smaller.
pub const FEED_ITEM_BYTES_MAX: usize = 48 * 1024 * 1024;

/// Bytes of large feed items that the sessions of a server hold together: eight of 8 MiB. Who finds no
/// room waits for it.
pub const LARGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The part of [`LARGE_BYTES_MAX`] that the sessions of one device hold together, one in so many. An
/// item that is larger goes where the device holds nothing else.
pub const LARGE_PARTS: usize = 4;

/// Bytes a second that a device takes of an item at least, over all the time since it began, while
/// others wait for the room that it has: a sixth of the 50 kbit/s that several phones share.
pub const LARGE_BYTES_PER_SECOND: u64 = 1_024;

/// Milliseconds for which a device that cannot be fed is heard out after each frame and outcome: it
/// gives what it has before it hears of the fault. Several times what a frame takes on a link of 50
/// kbit/s and 800 ms a way.
pub const UNREADABLE_QUIET_MS: u64 = 5_000;

/// Milliseconds for which a device may let an item wait of which it took nothing, and by which it may
/// be behind [`LARGE_BYTES_PER_SECOND`]: others may wait for the room that it has.
pub const LARGE_STALLED_MS: u64 = ANSWER_MS;

/// Milliseconds for which whoever waited longest may leave the room that is there for its item to
/// nobody: several times what the frame takes on a slow link behind which it looks again. Who waits
/// looks as often.
pub const LARGE_OFFER_MS: u64 = 5_000;

/// Bytes that one `fragment` frame carries: a frame without 48 bytes of keys and lengths.
pub const FRAGMENT_BYTES: usize = FRAME_BYTES_MAX - 48;

/// Bytes of a page of the feed, cursor included: a frame without its type and keys.
pub const PAGE_BYTES: usize = FRAME_BYTES_MAX - 32;

/// Bytes of a cursor, so that one always fits `subscribe` beside the longest list of scopes, and
/// `up_to_date` beside digests. [`SUBSCRIPTIONS_MAX`] prefixes of the longest kind need 2,816.
pub const CURSOR_BYTES_MAX: usize = 2_944;

/// Scopes that one `subscribe` names. Without any, it asks for everything the grants allow.
pub const SCOPES_MAX: usize = 15;

/// Subscriptions of a session: no more than grants.
pub const SUBSCRIPTIONS_MAX: usize = GRANTS_MAX;

/// Digests in one `up_to_date` frame of at most 1,084 bytes beside the cursor.
pub const DIGESTS_PER_FRAME: usize = 10;

/// Bytes of a session token; the present ones have 72.
pub const TOKEN_BYTES_MAX: usize = 128;

/// Milliseconds for which a token holds: 30 days.
pub const TOKEN_LIFE_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// Bytes of the text by which a device names its program.
pub const AGENT_BYTES_MAX: usize = 80;

/// Bytes of a code word.
pub const CODE_BYTES_MAX: usize = 40;

/// Bytes of a sentence for people. Longer ones of a peer are cut.
pub const SENTENCE_BYTES_MAX: usize = 400;

/// Runs in one `push` frame. The smallest whole one takes about 400 bytes; a frame that inflates to
/// thousands of scraps would earn as many answers.
pub const PUSH_ITEMS_MAX: usize = 128;

/// Runs in one `accepted` frame: each takes at most 27 bytes.
pub const ACCEPTED_PER_FRAME: usize = 128;

/// Hashes in one `missing` frame. What a run lacks beyond them shows when it is pushed again.
pub const MISSING_PER_FRAME: usize = 100;

/// Bytes of an invitation link.
pub const LINK_BYTES_MAX: usize = 1_024;

/// Places that a feed keeps between two pages while it merges scopes: about 120 KB for whoever
/// reads a province, nothing for a village. Beyond them it looks again.
pub const FRONTIER_MAX: usize = 1_024;

/// Records, statements and owed documents that one call to a feed looks at. A reader of published
/// documents may pass over many drafts; the cursor moves on with an empty page then.
pub const FEED_STEPS_PER_PAGE: usize = 4_096;

/// Whole documents that a feed remembers so as not to repeat the records in them.
pub const WHOLES_REMEMBERED_MAX: usize = 64;

/// Ranges, lists or needs in one `reconcile` frame. The smallest takes about 20 bytes; a frame that
/// inflates to thousands would earn as many answers.
pub const RANGES_MAX: usize = 200;

/// Bytes of ranges or lists that are put into one `reconcile` frame: a frame without 160 bytes for
/// the scope and the other keys.
pub const RECONCILE_BYTES: usize = FRAME_BYTES_MAX - 160;

/// Documents of a range that a server lists rather than splitting the range further. Splitting
/// costs about 23 bytes for each document that differs, listing 14 for each that is there.
pub const LISTED_UNASKED_MAX: usize = 4;

/// Documents of a range that a server lists when it is asked for a list.
pub const LISTED_MAX: usize = 16;

/// Heads named in a list. With [`LISTED_MAX`] documents they stay below [`RECONCILE_BYTES`].
pub const LISTED_HEADS_MAX: usize = 8;

/// Parts of the first range of a comparison, at most: their fingerprints fit a frame beside others.
pub const PARTS_MAX: usize = 64;

/// Parts into which a range that differs is split further.
pub const PARTS: usize = 4;

/// Fingerprints in one `reconcile` frame. They do not deflate, so that a frame holds hardly more
/// that are true; those that are made up would earn an answer each all the same.
pub const PARTS_PER_FRAME: usize = RANGES_MAX * PARTS;

/// Bytes of answers to `reconcile` frames that may wait to be sent. Whoever asks faster than it
/// reads is let go. The answer to one frame is shorter.
pub const RECONCILE_ANSWER_BYTES_MAX: usize = 256 * 1024;

// Each part of a frame, and each range without parts, earns a list of its documents or a range with
// fingerprints, which is shorter than a list: bytes of the documents listed, of the ranges, and of
// what else is in the frames.
const _: () = {
    let (document, range) = (2 + 4 + 8 * LISTED_HEADS_MAX, 18 + 4);
    let by_parts = PARTS_PER_FRAME * (LISTED_UNASKED_MAX * document + range);
    let by_lists = RANGES_MAX * (LISTED_MAX * document + range);
    let longest = if by_parts > by_lists {
        by_parts
    } else {
        by_lists
    };
    let one = LISTED_MAX * document + range;
    let frames = longest / (RECONCILE_BYTES - one) + PARTS_PER_FRAME / RANGES_MAX + 1;
    assert!(longest + frames * (FRAME_BYTES_MAX - RECONCILE_BYTES) <= RECONCILE_ANSWER_BYTES_MAX);
    assert!(2 + 4 * PARTS < LISTED_UNASKED_MAX * document);
};

/// What a device may ask of one copy of a side: a range, a part, a document that is listed and one
/// that it needs are one each. A comparison names each document once as listed and once as needed;
/// where all differ, two parts a document and the levels of ranges above them come to as much again.
pub const COMPARED_PER_DOCUMENT: usize = 8;

/// What a device may ask of a copy without documents besides: it finds out in a few frames.
pub const COMPARED_AT_LEAST: usize = 4 * PARTS_PER_FRAME;

/// Inflated bytes for each received byte that cost a session nothing: text deflates at most about 20
/// to 1.
pub const INFLATED_RATIO_HONEST: usize = 20;

/// Inflated bytes beyond it that a session may have the server read at once: two runs of as much as one
/// may be, or a few hundred texts of one repeated letter.
pub const INFLATED_FREE_BYTES: u64 = 64 * 1024 * 1024;

/// The same in each second after that: some hundredths of what one processor inflates and hashes.
pub const INFLATED_FREE_BYTES_PER_SECOND: u64 = 4 * 1024 * 1024;

/// `subscribe` frames of one session, each of which begins the feed anew, with the scopes and the large
/// document that are read for it: a device sends one, another behind a void cursor, once it is let in
/// again and once it was told that it is confirmed.
pub const SUBSCRIBED_MAX: usize = 8;

/// Times that a session takes a copy of another side's documents than the last: one for each
/// subscription, and as many again.
pub const COMPARISONS_MAX: usize = 2 * SUBSCRIPTIONS_MAX;

/// Statements in one `statements` frame. The smallest has about 130 bytes that do not deflate.
pub const STATEMENTS_PER_FRAME: usize = 32;

/// Statements that a session takes back: what a district with thousands of devices stated of them.
pub const STATEMENTS_MAX: usize = 16_384;

// What one frame brings is judged in one call.
const _: () = assert!(
    STATEMENTS_PER_FRAME <= RETURNED_STATEMENTS_MAX && PUSH_ITEMS_MAX <= RETURNED_STATEMENTS_MAX
);

/// Frames of `statements` and `holding` that a device sends ahead of their answers: as many bytes as
/// [`CREDIT_WINDOW`]. Within them no rate bounds such frames, since a device with much to give back
/// sends hundreds.
pub const STATEMENT_FRAMES_AHEAD: usize = 16;

/// Bytes of one statement in a `statements` frame: what fits beside its keys. Frameworks and sheets
/// of regions may be longer, and are named in `holding` first.
pub const STATEMENT_BYTES_MAX: usize = FRAME_BYTES_MAX - 64;

/// Names in one `holding` frame. The smallest takes about 35 bytes, most of which do not deflate.
pub const HOLDING_PER_FRAME: usize = 64;

/// Bytes of names that are put into one `holding` frame.
pub const HOLDING_BYTES: usize = FRAME_BYTES_MAX - 64;
