//! The word that was probably meant. Pure.

/// The candidate that is nearest to `word`, if any is near enough to be what was meant.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let lower = word.to_ascii_lowercase();
    let within = (word.chars().count() / 3).max(2);
    candidates
        .iter()
        .map(|candidate| {
            (
                distance(&lower, &candidate.to_ascii_lowercase()),
                *candidate,
            )
        })
        .filter(|(distance, _)| *distance <= within)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, by characters. Words longer than 100 are near to nothing.
fn distance(left: &str, right: &str) -> usize {
    const LONGEST: usize = 100;
    if left.len() > LONGEST || right.len() > LONGEST {
        return usize::MAX;
    }
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        let mut next = vec![before];
        for (above, other) in row.iter().skip(1).zip(&right) {
            let changed = diagonal + usize::from(letter != *other);
            before = changed.min(before + 1).min(*above + 1);
            diagonal = *above;
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_foreign_word_is_not() {
        let words = ["namespaces", "nodes", "sources"];
        assert_eq!(nearest("namespace", &words), Some("namespaces"));
        assert_eq!(nearest("Sources", &words), Some("sources"));
        assert_eq!(nearest("serviceAccounts", &words), None);
    }

    #[test]
    fn the_distance_counts_changes_insertions_and_deletions() {
        for (left, right, wanted) in [("", "abc", 3), ("kitten", "sitting", 3), ("abc", "abc", 0)] {
            assert_eq!(distance(left, right), wanted, "{left} {right}");
        }
    }
}
