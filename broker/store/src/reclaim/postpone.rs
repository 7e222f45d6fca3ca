//! Patience with segments: after an error of the system they are left alone for a while.
//!
//! In: segments and the error. Out: the ledger knows that they rest. Does not know what was tried.

use crate::error::Error;
use crate::shared::Shared;
use std::time::Instant;

/// Leaves segments alone for a while after an error of the system.
///
/// # Errors
/// The store is closed or has failed.
pub(super) fn put_off(shared: &Shared, segments: &[u32], error: Error) -> Result<(), Error> {
    if matches!(error, Error::Closed | Error::Failed(_)) {
        return Err(error);
    }
    tracing::warn!(?segments, %error, "cannot reclaim segments; trying again later");
    let mut log = shared.log.lock();
    for &segment in segments {
        let account = log.ledger.account(segment);
        account.blocked = Some(Instant::now());
        account.failing = true;
    }
    Ok(())
}
