//! Tx: transactions. Class 90.
//!
//! Comes in: arguments as octets. Goes out: one struct a method. Does not know about what a transaction holds.

methods! {
    /// Publishes and acknowledgements wait for commit.
    TxSelect(90, 10, "tx.select") [] {} []

    /// They do.
    TxSelectOk(90, 11, "tx.select-ok") [] {} []

    /// Carries them out.
    TxCommit(90, 20, "tx.commit") [] {} []

    /// Done.
    TxCommitOk(90, 21, "tx.commit-ok") [] {} []

    /// Drops them.
    TxRollback(90, 30, "tx.rollback") [] {} []

    /// Done.
    TxRollbackOk(90, 31, "tx.rollback-ok") [] {} []
}
