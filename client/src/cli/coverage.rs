//! Which rows of a framework have evidence, and which have none.

use std::collections::BTreeSet;

use bukti_core::evidence::Declared;
use bukti_core::framework::{Framework, Indicator};
use bukti_core::id::DocumentId;

/// A piece of evidence as far as coverage asks. Withdrawn evidence supports nothing.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) id: DocumentId,
    pub(super) title: String,
    pub(super) rows: Vec<String>,
    pub(super) declared: Declared,
    /// As people see it.
    pub(super) state: &'static str,
}

/// What there is for one row, or for an indicator that has no rows.
#[derive(Debug)]
pub(super) struct RowCoverage<'a> {
    pub(super) code: &'a str,
    pub(super) title: &'a str,
    /// Evidence of the row itself and of its indicator as a whole.
    pub(super) pieces: Vec<&'a Piece>,
}

impl RowCoverage<'_> {
    pub(super) fn has_ready(&self) -> bool {
        self.pieces
            .iter()
            .any(|piece| piece.declared == Declared::Ready)
    }
}

/// What there is for one indicator.
#[derive(Debug)]
pub(super) struct IndicatorCoverage<'a> {
    pub(super) indicator: &'a Indicator,
    /// Never empty: an indicator without rows is its own.
    pub(super) rows: Vec<RowCoverage<'a>>,
    /// Each once, however many rows it supports.
    pub(super) evidence: BTreeSet<DocumentId>,
}

impl<'a> IndicatorCoverage<'a> {
    fn of(indicator: &'a Indicator, pieces: &'a [Piece]) -> Self {
        let own = indicator
            .rows
            .iter()
            .map(|row| (row.code.as_str(), row.title.english()));
        let itself = (indicator.code.as_str(), indicator.title.english());
        let itself = indicator.rows.is_empty().then_some(itself);
        let rows: Vec<RowCoverage<'a>> = own
            .chain(itself)
            .map(|(code, title)| RowCoverage {
                code,
                title,
                pieces: supporting(pieces, &[code, &indicator.code]),
            })
            .collect();
        let evidence = rows
            .iter()
            .flat_map(|row| row.pieces.iter().map(|piece| piece.id))
            .collect();
        Self {
            indicator,
            rows,
            evidence,
        }
    }

    pub(super) fn without_ready(&self) -> Vec<&'a str> {
        let gaps = self.rows.iter().filter(|row| !row.has_ready());
        gaps.map(|row| row.code).collect()
    }

    pub(super) fn without_any(&self) -> Vec<&'a str> {
        let gaps = self.rows.iter().filter(|row| row.pieces.is_empty());
        gaps.map(|row| row.code).collect()
    }
}

fn supporting<'a>(pieces: &'a [Piece], codes: &[&str]) -> Vec<&'a Piece> {
    pieces
        .iter()
        .filter(|piece| piece.declared != Declared::Withdrawn)
        .filter(|piece| piece.rows.iter().any(|row| codes.contains(&row.as_str())))
        .collect()
}

/// The indicators of `framework` in order.
pub(super) fn coverage<'a>(
    framework: &'a Framework,
    pieces: &'a [Piece],
) -> Vec<IndicatorCoverage<'a>> {
    framework
        .indicators()
        .map(|indicator| IndicatorCoverage::of(indicator, pieces))
        .collect()
}

/// Sums over several indicators.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Totals {
    pub(super) indicators: usize,
    pub(super) rows: usize,
    pub(super) evidence: usize,
    pub(super) without_ready: usize,
    pub(super) without_any: usize,
}

impl Totals {
    pub(super) fn of(coverage: &[IndicatorCoverage<'_>]) -> Self {
        let evidence: BTreeSet<&DocumentId> = coverage
            .iter()
            .flat_map(|indicator| &indicator.evidence)
            .collect();
        let sum = |of: &dyn Fn(&IndicatorCoverage<'_>) -> usize| coverage.iter().map(of).sum();
        Self {
            indicators: coverage.len(),
            rows: sum(&|indicator| indicator.rows.len()),
            evidence: evidence.len(),
            without_ready: sum(&|indicator| indicator.without_ready().len()),
            without_any: sum(&|indicator| indicator.without_any().len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bukti_core::framework::built_in;

    use super::*;

    fn framework(at: usize) -> Framework {
        let (name, bytes) = built_in()[at];
        Framework::from_json(name, bytes).unwrap()
    }

    fn piece(id: u8, rows: &[&str], declared: Declared) -> Piece {
        Piece {
            id: DocumentId([id; 16]),
            title: format!("piece {id}"),
            rows: rows.iter().map(|row| (*row).to_owned()).collect(),
            declared,
            state: "",
        }
    }

    #[test]
    fn a_draft_fills_a_row_and_leaves_it_without_ready_evidence() {
        let framework = framework(0);
        let pieces = [
            piece(1, &["II.3.1"], Declared::Draft),
            piece(2, &["II.3.1", "II.2.1"], Declared::Ready),
            piece(3, &["II.2.2"], Declared::Draft),
            piece(4, &["II.2.3"], Declared::Withdrawn),
        ];
        let coverage = coverage(&framework, &pieces);
        let of = |code| {
            coverage
                .iter()
                .find(|at| at.indicator.code == code)
                .unwrap()
        };
        assert_eq!(of("II.2").without_ready(), ["II.2.2", "II.2.3"]);
        assert_eq!(of("II.2").without_any(), ["II.2.3"]);
        assert_eq!(of("II.3").without_any(), ["II.3.2"]);
        assert_eq!(of("II.2").evidence.len(), 2);
    }

    #[test]
    fn evidence_of_a_whole_indicator_covers_each_of_its_rows() {
        let framework = framework(0);
        let pieces = [piece(1, &["II.2"], Declared::Ready)];
        let coverage = coverage(&framework, &pieces);
        let whole = coverage
            .iter()
            .find(|at| at.indicator.code == "II.2")
            .unwrap();
        assert_eq!(whole.without_ready(), [""; 0]);
        assert_eq!(whole.evidence.len(), 1);
    }

    #[test]
    fn an_indicator_without_rows_is_its_own_row() {
        let framework = framework(1);
        let pieces = [piece(1, &["A.1"], Declared::Ready)];
        let coverage = coverage(&framework, &pieces);
        let totals = Totals::of(&coverage);
        assert_eq!(totals.rows, framework.indicators().count());
        assert_eq!(totals.without_any, totals.rows - 1);
    }

    #[test]
    fn totals_count_a_piece_once_however_many_rows_it_supports() {
        let framework = framework(0);
        let pieces = [
            piece(1, &["I.1.1", "I.1.2", "IV.2.1"], Declared::Ready),
            piece(2, &["I.1.1"], Declared::Draft),
        ];
        let totals = Totals::of(&coverage(&framework, &pieces));
        let rows = framework.rows().count();
        assert_eq!(
            totals,
            Totals {
                indicators: 18,
                rows,
                evidence: 2,
                without_ready: rows - 3,
                without_any: rows - 3
            }
        );
    }
}
