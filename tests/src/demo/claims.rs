//! What the demo says that it checked, and whether it held.

/// A statement that was checked against what the processes really said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The statement.
    pub says: String,
    /// What contradicts it, if anything does.
    pub contradicted_by: Option<String>,
}

/// Every statement so far.
#[derive(Debug, Default)]
pub struct Claims {
    checked: Vec<Claim>,
}

impl Claims {
    /// Notes a statement; `seen` tells, where it does not hold, what was seen instead.
    pub fn check(&mut self, says: impl Into<String>, holds: bool, seen: impl FnOnce() -> String) {
        self.checked.push(Claim {
            says: says.into(),
            contradicted_by: (!holds).then(seen),
        });
    }

    /// All of them, in the order of the demo.
    pub fn all(&self) -> &[Claim] {
        &self.checked
    }

    /// Whether there are any and every one holds.
    pub fn hold(&self) -> bool {
        !self.checked.is_empty()
            && self
                .checked
                .iter()
                .all(|claim| claim.contradicted_by.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_claim_that_does_not_hold_is_enough_and_so_is_none() {
        let mut claims = Claims::default();
        assert!(!claims.hold());
        claims.check("water is wet", true, || unreachable!());
        assert!(claims.hold());
        claims.check("the sky is green", false, || "blue".into());
        assert!(!claims.hold());
        assert_eq!(claims.all()[1].contradicted_by.as_deref(), Some("blue"));
    }
}
