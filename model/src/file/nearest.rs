//! "Did you mean …?": the closest of several words, if one is close enough to be what was meant. It never looks at more
//! words or longer words than its bounds, so that a hostile file cannot make it slow.

/// The longest word that is compared, in bytes; names and keys are shorter.
const WORD_BYTES_MAX: usize = 64;
/// The most words that are compared.
const CANDIDATES_MAX: usize = 1_000;

/// The candidate that differs least from the word, if it differs by at most a third of its letters.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let near = candidates.into_iter().take(CANDIDATES_MAX).filter_map(|candidate| {
        let tolerated = (word.len().max(candidate.len()) / 3).max(1);
        if candidate == word || word.len().abs_diff(candidate.len()) > tolerated {
            return None;
        }
        let distance = strsim::osa_distance(word, candidate);
        (distance <= tolerated).then_some((distance, candidate))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keys_is_recognised_and_a_different_word_is_not() {
        let keys = ["hosts", "paths", "methods", "connection"];
        assert_eq!(nearest("hots", keys), Some("hosts"));
        assert_eq!(nearest("conection", keys), Some("connection"));
        assert_eq!(nearest("mehtods", keys), Some("methods"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest(&"hosts".repeat(100), keys), None);
    }
}
