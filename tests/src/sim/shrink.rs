//! Finds fewer steps that fail in the same way.

use super::script::Step;

/// Leaves steps out while the rest still fails, in at most `runs` runs.
///
/// Large pieces go first, then smaller ones, down to single steps.
pub fn shrink(
    steps: &[Step],
    runs: usize,
    mut still_fails: impl FnMut(&[Step]) -> bool,
) -> Vec<Step> {
    let mut kept = steps.to_vec();
    let mut left = runs;
    let mut piece = kept.len().div_ceil(2).max(1);
    loop {
        let mut start = 0;
        let mut dropped = false;
        while start < kept.len() {
            if left == 0 {
                return kept;
            }
            left -= 1;
            let end = (start + piece).min(kept.len());
            let fewer = [&kept[..start], &kept[end..]].concat();
            if still_fails(&fewer) {
                kept = fewer;
                dropped = true;
            } else {
                start = end;
            }
        }
        if piece > 1 {
            piece = piece.div_ceil(2);
        } else if !dropped {
            return kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::Act;
    use super::*;

    fn steps(count: u64) -> Vec<Step> {
        let step = |number| Step {
            number,
            at: number,
            act: Act::Cut { device: 0 },
        };
        (0..count).map(step).collect()
    }

    #[test]
    fn only_the_steps_that_matter_are_left() {
        let matters = |steps: &[Step]| {
            let has = |number| steps.iter().any(|step| step.number == number);
            has(7) && has(31)
        };
        let left = shrink(&steps(100), 1_000, matters);
        let numbers: Vec<u64> = left.iter().map(|step| step.number).collect();
        assert_eq!(numbers, [7, 31]);
    }

    #[test]
    fn it_gives_what_it_has_when_its_runs_are_used_up() {
        let mut runs = 0;
        shrink(&steps(100), 5, |_| {
            runs += 1;
            false
        });
        assert_eq!(runs, 5);
    }
}
