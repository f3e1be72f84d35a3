//! What a stream gave up before anybody dealt with it, and what it lost and got again.

use nats::topology::{GW_EVENT, GW_PARKED, GW_WEBHOOK};
use sqlx::{Any, any::AnyArguments, query::Query};

use crate::{Inner, error::Error, extent::Extent, facts::Facts, maintain::STEP, source::Source, writer::Writer};

/// Marks what is expired. Tells whether this process still writes.
pub(crate) async fn run(writer: &mut Writer, inner: &Inner) -> Result<bool, Error> {
    let (broker, now) = (&inner.deps.broker, inner.deps.clock.now());
    let extents = async {
        let webhooks = Extent::ask(broker, GW_WEBHOOK).await?;
        let parked = Extent::ask(broker, GW_PARKED).await?;
        Ok::<_, nats::Error>((webhooks, parked, Extent::ask(broker, GW_EVENT).await?))
    };
    // While the broker is away, nothing is given up either.
    let Ok((webhooks, parked, events)) = extents.await else { return Ok(true) };
    // In any order of reading: an event that comes later still makes it routed.
    let pending = || {
        sqlx::query(
            "update deliveries set facts = facts | $1 where state = 'pending'
                 and (sequence, provider, delivery_id) in (select sequence, provider, delivery_id from deliveries
                     where state = 'pending' and (stored_at < $2 or (sequence < $3 and stored_at < $4)) limit $5)",
        )
        .bind(Facts::EXPIRED.0)
        .bind(webhooks.made_at())
        .bind(webhooks.first)
        .bind(webhooks.aged(now))
        .bind(STEP)
    };
    // What is parked was parked before its outcome was decided.
    let first = first_parked(inner, parked).await;
    let waiting = || {
        sqlx::query(
            "update deliveries set facts = facts | $1 where state = 'parked'
                 and (sequence, provider, delivery_id) in (select d.sequence, d.provider, d.delivery_id
                     from deliveries d join outcomes o on o.provider = d.provider and o.delivery_id = d.delivery_id
                         and o.delivery_sequence = d.sequence
                     where d.state = 'parked' and o.outcome = 'parked' and (o.decided_at < $2 or o.decided_at < $3)
                     limit $4)",
        )
        .bind(Facts::EXPIRED.0)
        .bind(parked.aged(now))
        .bind(first)
        .bind(STEP)
    };
    let pushes = || {
        sqlx::query(
            "update pushes set state = 'expired', reason = 'expired' where (event_id, endpoint_id) in (
                 select event_id, endpoint_id from pushes where state in ('pending', 'held')
                     and (stored_at < $1 or (sequence < $2 and stored_at < $3)) limit $4)",
        )
        .bind(events.made_at())
        .bind(events.first)
        .bind(events.aged(now))
        .bind(STEP)
    };
    // What became of a delivery that the broker lost counts for the one that its sender repeated.
    let read = writer.positions.get(&Source::Webhooks).map_or(0, |position| position.sequence);
    let repeated = || {
        sqlx::query(
            "update deliveries set facts = facts | (select max(lost.facts) from deliveries lost
                 where lost.state = 'unknown' and lost.provider = deliveries.provider
                     and lost.delivery_id = deliveries.delivery_id
                     and (deliveries.facts | lost.facts) <> deliveries.facts)
             where facts & 1 = 1 and (sequence, provider, delivery_id) in (
                 select d.sequence, d.provider, d.delivery_id from deliveries lost
                 join deliveries d on d.delivery_id = lost.delivery_id and d.provider = lost.provider
                 where lost.state = 'unknown' and lost.sequence <= $1 and d.facts & 1 = 1
                     and (d.facts | lost.facts) <> d.facts
                 limit $2)",
        )
        .bind(read)
        .bind(STEP)
    };
    if !all(writer, repeated).await? {
        return Ok(false);
    }
    Ok(all(writer, pending).await? && all(writer, waiting).await? && all(writer, pushes).await?)
}

/// When the oldest message of the full stream of parked deliveries was stored: what is older was given up. A stream
/// that is not full gives up nothing before its time.
async fn first_parked(inner: &Inner, parked: Extent) -> i64 {
    if !parked.full {
        return i64::MIN;
    }
    let first = u64::try_from(parked.first).unwrap_or_default();
    match nats::get(&inner.deps.broker, GW_PARKED, first).await {
        Ok(Some(message)) => message.stored_at,
        Ok(None) | Err(_) => i64::MIN,
    }
}

/// Runs a step until it has nothing more to do.
async fn all<'q>(writer: &Writer, step: impl Fn() -> Query<'q, Any, AnyArguments>) -> Result<bool, Error> {
    loop {
        let Some(mut write) = writer.lease.begin().await? else { return Ok(false) };
        let changed = step().execute(&mut *write).await?.rows_affected();
        write.commit().await.map_err(Error::Store)?;
        if i64::try_from(changed).unwrap_or_default() < STEP {
            return Ok(true);
        }
    }
}
