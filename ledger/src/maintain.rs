//! What time changes: endpoints' wishes, what the streams gave up, and rows that are old enough to be sealed.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Inner, apply, error::Error, expire, prune, writer::Writer};

/// Rows a transaction changes at most.
pub(crate) const STEP: i64 = 1_000;
/// How often it is looked for what is expired or old.
pub(crate) const SWEEP: Duration = Duration::from_secs(5);

/// Looks once. Tells whether this process still writes.
pub(crate) async fn run(writer: &mut Writer, inner: &Inner) -> Result<bool, Error> {
    if let Some(newer) = writer.wishes.newer(&writer.lease.db).await? {
        // From the next batch on its events are asked of the newer; those that are there are looked through now.
        for wishes in newer.all() {
            if !apply::run(writer, wishes).await? {
                return Ok(false);
            }
        }
        writer.wishes = newer;
    }
    if writer.swept.elapsed() < SWEEP {
        return Ok(true);
    }
    writer.swept = Instant::now();
    Ok(expire::run(writer, inner).await? && prune::run(writer, inner).await?)
}
