//! The words in which people read how a piece of evidence stands.

use bukti_client::device::{Delivery, Summary};
use bukti_core::evidence::Declared;

/// What comes first for the officer: a choice to make, a refusal to look at, else what was declared
/// and whether the server has it.
pub(super) fn state(summary: &Summary) -> &'static str {
    if summary.conflicts > 0 {
        return "Conflict, choose";
    }
    match (&summary.delivery, summary.declared) {
        (Delivery::Rejected { .. }, _) => "Refused",
        (_, Declared::Withdrawn) => "Withdrawn",
        (_, Declared::Draft) => "Draft",
        (Delivery::Received, Declared::Ready) => "Received",
        (Delivery::NotTakenBack { .. }, Declared::Ready) => "Not taken back",
        (Delivery::ToGiveBack { .. }, Declared::Ready) => "To give back",
        (Delivery::ReadyToSend { .. } | Delivery::Draft { .. }, Declared::Ready) => "Ready to send",
    }
}

/// Whether the server has it, which is another matter than its state.
pub(super) fn delivery(delivery: &Delivery) -> String {
    match delivery {
        Delivery::Received => "delivered".to_owned(),
        Delivery::Draft { unsent } | Delivery::ReadyToSend { unsent } => format!("{unsent} unsent"),
        Delivery::Rejected {
            runs, unsent: 0, ..
        } => format!("{runs} refused"),
        Delivery::Rejected { runs, unsent, .. } => format!("{runs} refused, {unsent} unsent"),
        Delivery::ToGiveBack { unsent: 0 } => "to be given back".to_owned(),
        Delivery::ToGiveBack { unsent } => format!("to be given back, {unsent} unsent"),
        Delivery::NotTakenBack { runs, unsent: 0 } => format!("{runs} not taken back"),
        Delivery::NotTakenBack { runs, unsent } => {
            format!("{runs} not taken back, {unsent} unsent")
        }
    }
}

#[cfg(test)]
mod tests {
    use bukti_core::id::DocumentId;

    use super::*;

    fn summary(declared: Declared, delivery: Delivery, conflicts: u64) -> Summary {
        Summary {
            id: DocumentId([1; 16]),
            title: "Perdes".into(),
            kind: "regulation".into(),
            framework: None,
            cycle: None,
            rows: Vec::new(),
            scope: "13.76".parse().unwrap(),
            declared,
            delivery,
            conflicts,
            files: 0,
            updated_at: 0,
            received_at: None,
        }
    }

    #[test]
    fn nothing_reads_received_before_the_server_confirmed_it() {
        let unsent = Delivery::ReadyToSend { unsent: 1 };
        let refused = Delivery::Rejected {
            runs: 1,
            code: "denied".into(),
            sentence: "No.".into(),
            unsent: 2,
        };
        let lost = Delivery::NotTakenBack { runs: 1, unsent: 0 };
        let back = Delivery::ToGiveBack { unsent: 0 };
        let states = [
            (summary(Declared::Draft, Delivery::Received, 0), "Draft"),
            (summary(Declared::Ready, unsent.clone(), 0), "Ready to send"),
            (summary(Declared::Ready, Delivery::Received, 0), "Received"),
            (summary(Declared::Ready, lost.clone(), 0), "Not taken back"),
            (summary(Declared::Draft, lost.clone(), 0), "Draft"),
            (summary(Declared::Ready, back.clone(), 0), "To give back"),
            (summary(Declared::Draft, back.clone(), 0), "Draft"),
            (
                summary(Declared::Ready, Delivery::Received, 1),
                "Conflict, choose",
            ),
            (summary(Declared::Ready, refused.clone(), 0), "Refused"),
            (
                summary(Declared::Withdrawn, Delivery::Received, 0),
                "Withdrawn",
            ),
        ];
        for (summary, expected) in states {
            assert_eq!(state(&summary), expected);
        }
        assert_eq!(delivery(&unsent), "1 unsent");
        assert_eq!(delivery(&refused), "1 refused, 2 unsent");
        assert_eq!(delivery(&lost), "1 not taken back");
        assert_eq!(delivery(&back), "to be given back");
        let also_unsent = Delivery::ToGiveBack { unsent: 2 };
        assert_eq!(delivery(&also_unsent), "to be given back, 2 unsent");
        let also_unsent = Delivery::NotTakenBack { runs: 1, unsent: 2 };
        assert_eq!(delivery(&also_unsent), "1 not taken back, 2 unsent");
    }
}
