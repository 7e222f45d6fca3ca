//! Topic patterns and keys that match them, always the same ones.
//!
//! In: a number. Out: the pattern of that number, or a key for it. Does not know about brokers.

/// The words that tell one pattern from another.
const fn words(number: usize) -> (usize, usize, usize) {
    (number % 100, number / 100 % 100, number / 10_000)
}

/// A pattern of three to five words with * or #. All are different below a million.
#[must_use]
pub fn pattern(number: usize) -> String {
    let (a, b, c) = words(number);
    match number % 4 {
        0 => format!("s{a}.*.k{b}.v{c}"),
        1 => format!("s{a}.k{b}.v{c}.#"),
        2 => format!("*.s{a}.k{b}.v{c}"),
        _ => format!("s{a}.#.k{b}.v{c}"),
    }
}

/// A routing key that the pattern of this number matches, and now and then others do.
#[must_use]
pub fn key(number: usize) -> String {
    let (a, b, c) = words(number);
    let any = number % 7;
    match number % 4 {
        0 => format!("s{a}.x{any}.k{b}.v{c}"),
        1 => format!("s{a}.k{b}.v{c}.e{any}"),
        2 => format!("y{any}.s{a}.k{b}.v{c}"),
        _ => format!("s{a}.m{any}.n.k{b}.v{c}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn patterns_differ_and_all_have_a_wildcard() {
        let all: BTreeSet<String> = (0..10_000).map(pattern).collect();
        assert_eq!(all.len(), 10_000);
        assert!(all.iter().all(|pattern| pattern.contains(['*', '#'])));
    }

    #[test]
    fn keys_hold_the_fixed_words_of_their_patterns() {
        for number in [0, 1, 2, 3, 4711, 9_999] {
            let (pattern, key) = (pattern(number), key(number));
            let fixed = pattern.split('.').filter(|word| !matches!(*word, "*" | "#"));
            assert!(
                fixed.clone().all(|word| key.split('.').any(|part| part == word)),
                "{pattern} {key}"
            );
        }
    }
}
