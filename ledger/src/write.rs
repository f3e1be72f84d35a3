//! One batch, one transaction.

use sqlx::AnyConnection;
use store::Error;

use crate::{
    batch::Batch,
    facts::{DeliveryKey, DeliveryRow, EventRow, PushKey, PushRow},
    position::{self, Positions},
    source::Source,
    writer::Writer,
};

/// Writes a batch and how far the streams were read. Tells whether this process still writes.
pub(crate) async fn batch(writer: &mut Writer, batch: &Batch, positions: &Positions) -> Result<bool, Error> {
    let sealed = |source: Source| {
        let sealed = writer.sealed.get(&source).copied().unwrap_or_default();
        let same = positions.get(&source).is_some_and(|position| position.made == sealed.made);
        if same { sealed.sequence } else { 0 }
    };
    let (webhooks, events, outcomes) = (sealed(Source::Webhooks), sealed(Source::Events), sealed(Source::Outcomes));
    let Some(mut write) = writer.lease.begin().await? else { return Ok(false) };
    let db: &mut AnyConnection = &mut write;
    let statements = &mut writer.statements;

    let (old, deliveries): (Vec<_>, Vec<_>) =
        batch.deliveries.clone().into_iter().partition(|(key, _)| key.sequence <= webhooks);
    statements.insert(db, &deliveries).await?;
    for (key, row) in &old {
        amend_delivery(db, key, row).await?;
    }
    let fresh: Vec<EventRow> = batch.events.iter().filter(|event| event.sequence > events).cloned().collect();
    statements.insert(db, &fresh).await?;
    let said: Vec<_> = batch.outcomes.iter().filter(|outcome| outcome.sequence > outcomes).cloned().collect();
    statements.insert(db, &said).await?;
    let filtered: Vec<_> = batch.filtered.values().filter(|row| row.sequence > outcomes).cloned().collect();
    statements.insert(db, &filtered).await?;

    let mut pushes = Batch { pushes: batch.pushes.clone(), ..Batch::default() };
    for event in &fresh {
        for wishes in writer.wishes.of(&event.org) {
            if let Some(row) = wishes.push(event) {
                pushes.push(PushKey { event: event.id.clone(), endpoint: wishes.endpoint.clone() }, row);
            }
        }
    }
    let (old, pushes): (Vec<_>, Vec<_>) = pushes.pushes.into_iter().partition(|(_, row)| row.sequence <= events);
    statements.insert(db, &pushes).await?;
    for (key, row) in &old {
        amend_push(db, key, row).await?;
    }
    statements.insert(db, &batch.attempts).await?;
    statements.insert(db, &batch.letters).await?;
    for (source, position) in positions {
        if writer.positions.get(source) != Some(position) {
            position::save(db, *source, *position).await?;
        }
    }
    write.commit().await?;
    Ok(true)
}

/// More is known of a delivery that is older than what was sealed: where it was counted already, its row is gone and
/// nothing happens.
async fn amend_delivery(db: &mut AnyConnection, key: &DeliveryKey, row: &DeliveryRow) -> Result<(), Error> {
    sqlx::query(
        "update deliveries set facts = facts | $1, reason = coalesce($2, reason), letter = coalesce($3, letter)
         where sequence = $4 and provider = $5 and delivery_id = $6",
    )
    .bind(row.facts.0)
    .bind(row.reason.clone())
    .bind(row.letter)
    .bind(key.sequence)
    .bind(key.provider.clone())
    .bind(key.delivery.clone())
    .execute(db)
    .await?;
    Ok(())
}

/// The same for a push.
async fn amend_push(db: &mut AnyConnection, key: &PushKey, row: &PushRow) -> Result<(), Error> {
    sqlx::query(
        "update pushes set state = $1, attempts = $2, next_at = $3, last_status = $4, last_error = $5, reason = $6,
             replay = $7, updated_at = $8, updated_sequence = $9
         where event_id = $10 and endpoint_id = $11
             and (updated_at < $8 or (updated_at = $8 and updated_sequence < $9))",
    )
    .bind(row.state)
    .bind(row.attempts)
    .bind(row.next_at)
    .bind(row.status)
    .bind(row.error.clone())
    .bind(row.reason.clone())
    .bind(row.replay.clone())
    .bind(row.updated.0)
    .bind(row.updated.1)
    .bind(key.event.clone())
    .bind(key.endpoint.clone())
    .execute(db)
    .await?;
    Ok(())
}
