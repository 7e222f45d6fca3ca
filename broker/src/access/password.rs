//! Passwords and hashes: compared, and nothing else.
//!
//! Comes in: what a client sent, and what is right. Goes out: yes or no. Pure.

/// Compares in a time that doesn't tell where the difference is.
pub fn matches(given: &str, expected: &str) -> bool {
    same(given.as_bytes(), expected.as_bytes())
}

/// The same, of bytes.
pub fn same(given: &[u8], expected: &[u8]) -> bool {
    let differences = given.iter().zip(expected).fold(0, |found, (a, b)| found | (a ^ b));
    given.len() == expected.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn only_the_same_password_matches() {
        assert!(matches("secret", "secret"));
        for wrong in ["", "secre", "secrets", "Secret", "terces"] {
            assert!(!matches(wrong, "secret"), "{wrong}");
        }
    }
}
