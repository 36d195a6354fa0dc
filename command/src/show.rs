//! How times, sizes, counts and foreign text are written for people.

use std::fmt::Display;

/// Writes milliseconds since 1970 as `2026-11-23 17:05Z`, always in UTC.
///
/// A clock that was never set shows as what it said, `1970-01-01 00:03Z`.
pub fn show_time(ms: i64) -> String {
    let minutes = ms.div_euclid(60_000);
    let (days, minute) = (minutes.div_euclid(24 * 60), minutes.rem_euclid(24 * 60));
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}Z",
        minute / 60,
        minute % 60
    )
}

/// Writes a size as `512 B`, `1.4 MiB`.
pub fn show_bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit_bytes = 1024;
    for unit in ["KiB", "MiB", "GiB", "TiB"] {
        // In tenths and rounded, so that 1023.96 KiB reads as 1.0 MiB.
        let tenths = (u128::from(bytes) * 10 + unit_bytes / 2) / unit_bytes;
        if tenths < 10_240 || unit == "TiB" {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        unit_bytes *= 1024;
    }
    unreachable!("the last unit takes every size")
}

/// Writes how long before `now_ms` the moment `then_ms` was: `12 s ago`, `3 days ago`; and
/// `in 2 h` when a clock is ahead.
pub fn ago(then_ms: i64, now_ms: i64) -> String {
    let seconds = then_ms.abs_diff(now_ms) / 1000;
    let length = match seconds {
        0 => return "just now".to_owned(),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        86_400..172_800 => "1 day".to_owned(),
        172_800.. => format!("{} days", seconds / 86_400),
    };
    if then_ms <= now_ms {
        format!("{length} ago")
    } else {
        format!("in {length}")
    }
}

/// Writes `1 row`, `2 rows`.
pub fn count<N: Copy + Display + PartialEq + From<u8>>(number: N, one: &str) -> String {
    let plural = if number == N::from(1) { "" } else { "s" };
    format!("{number} {one}{plural}")
}

/// Takes out of foreign text what would steer a terminal or reorder what stands beside it: control
/// characters and marks of writing direction become `\u{fffd}`, line ends and tabs a space.
pub fn plain(text: &str) -> String {
    let safe = |character: char| match character {
        '\n' | '\t' | '\r' => ' ',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        control if control.is_control() => '\u{fffd}',
        other => other,
    };
    text.chars().map(safe).collect()
}

/// Year, month and day of a count of days since 1970 in the Gregorian calendar, counted in eras of
/// 400 years that begin on 1 March, so that the leap day is the last of its year.
fn date(days: i64) -> (i64, i64, i64) {
    const ERA_DAYS: i64 = 146_097;
    const MARCH_OF_YEAR_0: i64 = -719_468;
    let day = days - MARCH_OF_YEAR_0;
    let (era, day) = (day.div_euclid(ERA_DAYS), day.rem_euclid(ERA_DAYS));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day + 2) / 153;
    let day = day - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_to_the_minute_in_utc() {
        assert_eq!(show_time(1_795_453_500_000), "2026-11-23 17:05Z");
        assert_eq!(show_time(951_827_640_000), "2000-02-29 12:34Z");
        assert_eq!(show_time(951_868_799_999), "2000-02-29 23:59Z");
        assert_eq!(show_time(4_107_542_400_000), "2100-03-01 00:00Z");
    }

    #[test]
    fn one_is_not_written_in_plural() {
        assert_eq!(
            [0_u64, 1, 2].map(|number| count(number, "row")),
            ["0 rows", "1 row", "2 rows"]
        );
    }

    #[test]
    fn a_clock_that_was_never_set_shows_plainly() {
        assert_eq!(show_time(0), "1970-01-01 00:00Z");
        assert_eq!(show_time(-1), "1969-12-31 23:59Z");
        assert!(show_time(i64::MAX).ends_with('Z'));
        assert!(show_time(i64::MIN).starts_with('-'));
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut before = date(-141_000);
        for days in -140_999..6_000 {
            let (year, month, day) = date(days);
            let next_day = (year, month, day) == (before.0, before.1, before.2 + 1);
            let next_month = (year, month, day) == (before.0, before.1 + 1, 1) && before.2 >= 28;
            let next_year = (month, day) == (1, 1) && before == (year - 1, 12, 31);
            assert!(
                next_day || next_month || next_year,
                "{before:?} {:?}",
                date(days)
            );
            before = (year, month, day);
        }
    }

    #[test]
    fn a_size_has_the_largest_unit_that_leaves_a_whole_number() {
        let sizes = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1_048_575, "1.0 MiB"),
            (5_368_709_120, "5.0 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(show_bytes(bytes), text);
        }
    }

    #[test]
    fn a_moment_is_told_by_its_distance_on_either_side() {
        let now = 1_000_000_000_000;
        let moments = [
            (0, "just now"),
            (-999, "just now"),
            (-12_000, "12 s ago"),
            (-60_000, "1 min ago"),
            (-7_199_000, "1 h ago"),
            (-86_400_000, "1 day ago"),
            (-259_200_000, "3 days ago"),
            (7_200_000, "in 2 h"),
        ];
        for (distance, text) in moments {
            assert_eq!(ago(now + distance, now), text);
        }
        assert!(ago(i64::MIN, i64::MAX).ends_with("days ago"));
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{202e}d"), "a\u{fffd}[2Jb c\u{fffd}d");
        assert_eq!(plain("Pengadaan – “RSUD” 中"), "Pengadaan – “RSUD” 中");
    }
}
