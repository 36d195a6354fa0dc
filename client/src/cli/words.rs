//! Short forms of words for tables.

/// Cuts a text to at most `characters`, at a blank where there is one near the end.
pub(super) fn shorten(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let cut: String = text.chars().take(characters.saturating_sub(1)).collect();
    let at_blank = cut.rfind(' ').filter(|end| *end >= cut.len() * 3 / 4);
    let kept = at_blank.map_or(cut.as_str(), |end| &cut[..end]);
    format!("{}…", kept.trim_end_matches([' ', ',', '/', ';']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_title_is_cut_at_a_blank_and_says_so() {
        assert_eq!(shorten("Daftar hadir", 12), "Daftar hadir");
        assert_eq!(shorten("Daftar hadir rapat", 15), "Daftar hadir…");
        assert_eq!(shorten("Pertanggungjawaban", 10), "Pertanggu…");
        assert_eq!(shorten("é".repeat(12).as_str(), 4), "ééé…");
    }
}
