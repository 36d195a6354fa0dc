//! What the rows of the confirmed store hold.

use bukti_core::authority::Audience;
use bukti_core::digest::Digest;
use bukti_core::envelope::{DocumentKind, Envelope, Seen};
use bukti_core::evidence::{Declared, EvidenceView};
use bukti_core::id::{
    ChangeHash, DeviceId, DocumentId, Incarnation, JournalId, Position, RunId, WallMs,
};
use bukti_core::ledger::Subscription;
use bukti_core::placement::Lineage;
use bukti_core::scope::Scope;
use bukti_sync_protocol::fragment::ItemId;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::limits::{AGREED_MAX, SURVIVED_LEFT_ALONE_MS};

/// What the rows belong to, and a few words about the session.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(in crate::device) struct Meta {
    #[n(0)]
    pub(super) format: u32,
    #[n(1)]
    pub(super) journal: JournalId,
    /// Highest position at which an own run was confirmed here.
    #[n(2)]
    pub(super) own_through: Position,
    /// The last checkpoint a server named.
    #[n(3)]
    pub(in crate::device) seen: Option<Seen>,
    /// When the last feed was followed to its end, by this device's clock.
    #[n(4)]
    pub(in crate::device) up_to_date_at: Option<WallMs>,
    /// Position of that.
    #[n(5)]
    pub(in crate::device) up_to_date_position: Position,
    /// Subscriptions whose digest differed then.
    #[n(6)]
    pub(in crate::device) differs: Vec<Scope>,
    /// Number of the next finding.
    #[n(7)]
    pub(super) next_finding: u64,
    /// Whether the server said that this device was revoked.
    #[n(8)]
    pub(in crate::device) revoked: bool,
    /// Whether the next session starts without a cursor.
    #[n(9)]
    pub(in crate::device) cursor_is_void: bool,
    /// Whether the cursor is of a history that the server lost, and no other came since.
    #[n(16)]
    #[cbor(default)]
    pub(in crate::device) cursor_is_lost: bool,
    /// Whether grants or places changed since it was last looked which documents may stay.
    #[n(15)]
    #[cbor(default)]
    pub(in crate::device) looks_for_left: bool,
    /// Whether the server lost records, and was not found to hold all that is in reach here since.
    #[n(17)]
    #[cbor(default)]
    pub(in crate::device) has_lost_history: bool,
    /// Subscriptions of which it was found to hold the same since.
    #[n(18)]
    #[cbor(default)]
    pub(super) agreed: Vec<Agreed>,
    /// Subscriptions all of which was compared since: what the server turned out to lack of them it took
    /// back, or it is noted run by run.
    #[n(19)]
    #[cbor(default)]
    pub(super) compared: Vec<Agreed>,
    /// Whether the server may have lost frameworks and regions that are here, in a store of a former
    /// version.
    #[n(13)]
    #[cbor(default)]
    pub(in crate::device) owes_statements: bool,
    /// The incarnation in which `own_through` was reached. Positions of another say nothing: a
    /// server that lost records uses their numbers again.
    #[n(10)]
    pub(super) own_incarnation: Option<Incarnation>,
    /// Whether the server only takes, until an administrator confirms this device.
    #[cbor(n(11), default)]
    pub(in crate::device) unconfirmed: bool,
    /// Differences that stayed when everything was compared.
    #[cbor(n(12), default)]
    pub(in crate::device) survived: Vec<SurvivedDifference>,
}

impl Meta {
    /// The server lost records.
    pub(in crate::device) fn lost_history(&mut self) {
        self.has_lost_history = true;
        self.forget_compared();
    }

    fn forget_compared(&mut self) {
        self.agreed.clear();
        self.compared.clear();
    }

    /// The server holds what is held here of a subscription, without what lies below `except`.
    pub(in crate::device) fn agree(
        &mut self,
        prefix: &Scope,
        audience: Audience,
        except: &[Scope],
    ) {
        self.survived
            .retain(|survived| !survived.is_of(prefix, audience));
        if self.has_lost_history {
            Agreed::new(prefix, audience, except).keep_in(&mut self.agreed);
        }
    }

    /// All of a subscription was compared, and what differs is known.
    pub(in crate::device) fn compare(
        &mut self,
        prefix: &Scope,
        audience: Audience,
        except: &[Scope],
    ) {
        if self.has_lost_history {
            Agreed::new(prefix, audience, except).keep_in(&mut self.compared);
        }
    }

    /// Units stand elsewhere: what was compared is not what lies there now.
    pub(in crate::device) fn units_moved(&mut self) {
        self.forget_compared();
    }

    /// Forgets that records were lost once the server was found to hold the same of all of these.
    pub(in crate::device) fn agreed_on(&mut self, subscriptions: &[Subscription]) {
        let agreed = &self.agreed;
        // Less may have been compared under the same prefix, while a narrower grant stood below it.
        let has = |own: &Subscription| {
            let audience = audience_byte(own.audience);
            agreed.iter().any(|of| {
                (&of.prefix, of.audience, &of.except) == (&own.prefix, audience, &own.except)
            })
        };
        if self.has_lost_history && subscriptions.iter().all(has) {
            self.has_lost_history = false;
            self.forget_compared();
        }
    }

    /// Whether the server may lack a document that was held here when it lost records.
    pub(in crate::device) fn may_be_lacking(&self, row: &DocumentRow, lineage: &Lineage) -> bool {
        self.has_lost_history && !Agreed::cover(&self.agreed, row, lineage)
    }

    /// Whether a document is still to be given back, as far as this device can tell: its server lost
    /// records, and what it lacks was not looked for since.
    pub(in crate::device) fn awaits_return(&self, row: &DocumentRow, lineage: &Lineage) -> bool {
        self.may_be_lacking(row, lineage) && !Agreed::cover(&self.compared, row, lineage)
    }

    pub(in crate::device) fn confirm_own(&mut self, incarnation: Incarnation, through: Position) {
        let is_known = self.own_incarnation.is_none_or(|of| of == incarnation);
        let former = if is_known { self.own_through } else { 0 };
        self.own_through = former.max(through);
        self.own_incarnation = Some(incarnation);
    }
}

/// A subscription that was compared with a server that lost records, or of which it was found to hold
/// the same.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(in crate::device) struct Agreed {
    #[n(0)]
    prefix: Scope,
    #[n(1)]
    audience: u8,
    #[n(2)]
    except: Vec<Scope>,
}

impl Agreed {
    fn new(prefix: &Scope, audience: Audience, except: &[Scope]) -> Self {
        Self {
            prefix: prefix.clone(),
            audience: audience_byte(audience),
            except: except.to_vec(),
        }
    }

    /// Adds it to others. Whoever answers names the subscriptions: where they are more than any device
    /// reads, the oldest goes, and what lay in it counts as not compared again.
    fn keep_in(self, all: &mut Vec<Self>) {
        if all.contains(&self) {
            return;
        }
        if all.len() >= AGREED_MAX {
            all.remove(0);
        }
        all.push(self);
    }

    /// Whether a document that was held is in one of these.
    fn cover(all: &[Self], row: &DocumentRow, lineage: &Lineage) -> bool {
        let held = DocumentRow {
            left: false,
            ..row.clone()
        };
        let mut all = all.iter();
        all.any(|of| {
            let mut audiences = held.audiences();
            lineage.is_below(&of.prefix)
                && !of.except.iter().any(|except| lineage.is_below(except))
                && audiences.any(|audience| audience_byte(audience) == of.audience)
        })
    }
}

/// A difference of a subscription that comparing did not remove.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(in crate::device) struct SurvivedDifference {
    #[n(0)]
    pub(in crate::device) prefix: Scope,
    #[n(1)]
    audience: u8,
    /// The server's digest less the one here.
    #[n(2)]
    pub(in crate::device) difference: Digest,
    /// Whether it stood in an `up_to_date` that came when everything was compared, and was told.
    #[n(3)]
    pub(in crate::device) told: bool,
    /// When it was compared last, as the clock here had it.
    #[n(4)]
    compared_at: Option<WallMs>,
}

impl SurvivedDifference {
    pub(in crate::device) fn new(
        prefix: &Scope,
        audience: Audience,
        difference: Digest,
        told: bool,
        now: WallMs,
    ) -> Self {
        Self {
            prefix: prefix.clone(),
            audience: audience_byte(audience),
            difference,
            told,
            compared_at: Some(now),
        }
    }

    /// Whether comparing it again so soon would only be a loop. `now` may come from a wrong clock.
    pub(in crate::device) fn is_left_alone(&self, now: WallMs) -> bool {
        let is_recent = |at: WallMs| now.abs_diff(at) < SURVIVED_LEFT_ALONE_MS;
        self.told && self.compared_at.is_some_and(is_recent)
    }

    pub(in crate::device) fn is_of(&self, prefix: &Scope, audience: Audience) -> bool {
        self.prefix == *prefix && self.audience == audience_byte(audience)
    }
}

/// A confirmed document.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(in crate::device) struct DocumentRow {
    #[n(0)]
    pub(in crate::device) kind: DocumentKind,
    #[n(1)]
    pub(in crate::device) scope: Scope,
    #[n(2)]
    pub(in crate::device) published: bool,
    /// Ascending.
    #[n(3)]
    pub(in crate::device) heads: Vec<ChangeHash>,
    /// Position of the last run in it.
    #[n(4)]
    pub(in crate::device) position: Position,
    /// When the server received that.
    #[n(5)]
    pub(in crate::device) received_at: WallMs,
    /// Highest device time among its runs.
    #[n(6)]
    pub(in crate::device) updated_at: WallMs,
    /// It belongs to another scope by now and stays only for what the device has not sent yet.
    #[n(7)]
    pub(in crate::device) left: bool,
    #[n(8)]
    pub(in crate::device) title: Title,
}

impl DocumentRow {
    /// The audiences it is in, as the server counts them: a statement is published by being made.
    pub(in crate::device) fn audiences(&self) -> impl Iterator<Item = Audience> {
        let published = self.published || self.kind == DocumentKind::Statement;
        let (unit, all) = (!self.left, !self.left && published);
        let unit = unit.then_some(Audience::Unit);
        unit.into_iter().chain(all.then_some(Audience::All))
    }
}

/// What a list shows of a document, so that it need not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(in crate::device) struct Title {
    #[n(0)]
    pub(in crate::device) title: String,
    #[n(1)]
    pub(in crate::device) kind: String,
    #[n(2)]
    pub(in crate::device) framework: Option<(String, String)>,
    #[n(3)]
    pub(in crate::device) cycle: Option<i64>,
    #[n(4)]
    pub(in crate::device) rows: Vec<String>,
    #[n(5)]
    declared: u8,
    #[n(6)]
    pub(in crate::device) conflicts: u64,
    #[n(7)]
    pub(in crate::device) files: u64,
}

impl Title {
    pub(in crate::device) fn of(view: &EvidenceView) -> Self {
        let declared = match view.declared {
            Declared::Draft => 0,
            Declared::Ready => 1,
            Declared::Withdrawn => 2,
        };
        let framework = view.framework.as_ref();
        Self {
            title: view.title.clone(),
            kind: view.kind.clone(),
            framework: framework.map(|at| (at.id.clone(), at.version.clone())),
            cycle: view.cycle,
            rows: view.rows.iter().cloned().collect(),
            declared,
            conflicts: view.conflicts.len() as u64,
            files: view.files.len() as u64,
        }
    }

    pub(in crate::device) fn declared(&self) -> Declared {
        match self.declared {
            1 => Declared::Ready,
            2 => Declared::Withdrawn,
            _draft => Declared::Draft,
        }
    }
}

/// A confirmed run without its changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::device) struct EnvelopeRow {
    pub(in crate::device) position: Position,
    pub(in crate::device) received_at: WallMs,
    pub(in crate::device) carrier: DeviceId,
    pub(in crate::device) envelope: Envelope,
}

/// Something that should not be, kept for whoever looks into it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, serde::Serialize)]
#[cbor(map)]
pub struct Finding {
    /// A word for programs.
    #[n(0)]
    pub code: String,
    /// A sentence for people.
    #[n(1)]
    pub sentence: String,
    /// The document concerned.
    #[n(2)]
    #[serde(serialize_with = "crate::device::views::as_text_option")]
    pub document: Option<DocumentId>,
    /// The run concerned.
    #[n(3)]
    #[serde(serialize_with = "crate::device::views::as_text_option")]
    pub run: Option<RunId>,
    /// This device's clock when it was found; nothing where it is told for as long as a file lies
    /// in the data folder.
    #[n(4)]
    pub at: Option<WallMs>,
    /// The file in the data folder that keeps what it is about.
    #[n(5)]
    pub place: Option<String>,
}

/// The beginning of a large item of the feed.
#[derive(Debug, Encode, Decode)]
#[cbor(array)]
pub(super) struct StoredPartial {
    #[n(0)]
    pub(super) item: ItemId,
    #[n(1)]
    pub(super) total: u64,
    #[n(2)]
    pub(super) bytes: ByteVec,
}

/// Sum and number of documents.
#[derive(Debug, Clone, Copy, Default, Encode, Decode)]
#[cbor(array)]
pub(super) struct DigestRow {
    #[n(0)]
    pub(super) digest: Digest,
    #[n(1)]
    pub(super) documents: u64,
}

pub(super) fn audience_byte(audience: Audience) -> u8 {
    match audience {
        Audience::Unit => 0,
        Audience::All => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_are_the_units_and_statements_are_everybodys_whatever_they_say() {
        let row = |kind, published| DocumentRow {
            kind,
            scope: Scope::all(),
            published,
            heads: Vec::new(),
            position: 1,
            received_at: 0,
            updated_at: 0,
            left: false,
            title: Title::of(&bukti_core::evidence::view(&automerge::Automerge::new())),
        };
        let audiences = |kind, published| row(kind, published).audiences().collect::<Vec<_>>();
        let everybodys = [Audience::Unit, Audience::All];
        for kind in [DocumentKind::Evidence, DocumentKind::Reference] {
            assert_eq!(audiences(kind, false), [Audience::Unit]);
            assert_eq!(audiences(kind, true), everybodys);
        }
        assert_eq!(audiences(DocumentKind::Statement, false), everybodys);
    }
}
