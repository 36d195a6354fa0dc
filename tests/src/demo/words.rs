//! What the officers write: invented, and as long as such texts are.

use std::fmt::Write;

/// What both officers start from.
pub const NARRATIVE: &str =
    "The village council discussed the budget for 2025 in the village hall.\n";

/// What Sari makes of it.
pub const NARRATIVE_OF_SARI: &str = "The village council discussed the budget for 2025 in the village hall. The draft was read out \
     and printed copies lay at the door.\n";

/// What Sari wrote.
pub const SENTENCE_OF_SARI: &str = "The draft was read out and printed copies lay at the door.";

/// What Budi makes of it.
pub const NARRATIVE_OF_BUDI: &str = "Residents of all five hamlets were invited by letter. The village council discussed the budget \
     for 2025 in the village hall.\n";

/// What Budi wrote.
pub const SENTENCE_OF_BUDI: &str = "Residents of all five hamlets were invited by letter.";

/// Lines of the minutes of one meeting.
const LINES: u64 = 90;

/// Minutes of a hamlet meeting, different for every `meeting`.
pub fn minutes(meeting: u64) -> String {
    const WISHES: [&str; 8] = [
        "a drain along the school road",
        "a second hand pump",
        "stone for the footbridge",
        "seedlings for the women's group",
        "lamps at the landing",
        "a roof for the health post",
        "chalk lines on the volleyball field",
        "a notice board for the budget",
    ];
    let mut text =
        format!("Minutes of hamlet meeting {meeting}. Speakers in the order of the list:\n");
    let mut dice = Dice(meeting);
    for line in 1..=LINES {
        let wish = WISHES[dice.below(WISHES.len() as u64) as usize];
        writeln!(
            text,
            "{line}. House {}, {:02}:{:02}: asks for {wish}, {} m, Rp {},{:03},000; {} for, {} against.",
            dice.below(400) + 1,
            dice.below(4) + 8,
            dice.below(60),
            dice.below(900) + 10,
            dice.below(90) + 2,
            dice.below(1000),
            dice.below(80),
            dice.below(30),
        )
        .expect("writing to a string cannot fail");
    }
    text
}

/// The same numbers in every demo.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_texts_hold_what_they_started_from_and_their_own_sentence() {
        let common = NARRATIVE.trim();
        for (text, sentence) in [
            (NARRATIVE_OF_SARI, SENTENCE_OF_SARI),
            (NARRATIVE_OF_BUDI, SENTENCE_OF_BUDI),
        ] {
            assert!(text.contains(common) && text.contains(sentence), "{text}");
        }
    }

    #[test]
    fn no_two_meetings_have_the_same_minutes() {
        assert_ne!(minutes(1), minutes(2));
        assert_eq!(minutes(1), minutes(1));
    }
}
