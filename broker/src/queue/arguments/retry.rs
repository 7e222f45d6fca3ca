//! The pause before a message that has come back is delivered again.
//!
//! Comes in: whether it has failed, and how often it has. Goes out: milliseconds. Pure.

/// The returns after which a message waits (`x-delayed-retry-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryType {
    /// All.
    All,
    /// Those that were failures.
    Failed,
    /// Those that were none.
    Returned,
    /// None.
    Disabled,
}

/// The pauses of a queue: they grow with each failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The returns that it is for.
    pub after: RetryType,
    /// The first pause, and what each failure adds, milliseconds.
    pub min: u64,
    /// The longest one.
    pub max: u64,
}

impl RetryType {
    /// The name by which it is declared.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Failed => "failed",
            Self::Returned => "returned",
            Self::Disabled => "disabled",
        }
    }
}

impl Retry {
    /// True if there is a pause after such a return.
    pub fn is_for(&self, failed: bool) -> bool {
        match self.after {
            RetryType::All => true,
            RetryType::Failed => failed,
            RetryType::Returned => !failed,
            RetryType::Disabled => false,
        }
    }

    /// The pause of a message with so many failures. One that has never failed waits as after the first failure.
    pub fn pause(&self, failures: u32) -> u64 {
        self.min.saturating_mul(failures.max(1).into()).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_failures_up_to_the_longest() {
        let retry = |min, max| Retry {
            after: RetryType::All,
            min,
            max,
        };
        let pauses = |retry: Retry| [0, 1, 2, 3, 4, 4095].map(|failures| retry.pause(failures));
        assert_eq!(pauses(retry(300, 1000)), [300, 300, 600, 900, 1000, 1000]);
        assert_eq!(pauses(retry(500, 200)), [200; 6]);
        assert_eq!(retry(u64::MAX, u64::MAX).pause(7), u64::MAX);
    }

    #[test]
    fn types_say_after_which_returns() {
        let for_both = |after| [true, false].map(|failed| Retry { after, min: 1, max: 1 }.is_for(failed));
        assert_eq!(for_both(RetryType::All), [true, true]);
        assert_eq!(for_both(RetryType::Failed), [true, false]);
        assert_eq!(for_both(RetryType::Returned), [false, true]);
        assert_eq!(for_both(RetryType::Disabled), [false, false]);
    }
}
