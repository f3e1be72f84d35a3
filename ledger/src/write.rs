//! One batch, one transaction.

use sqlx::AnyConnection;
use store::Error;

use crate::{
    batch::Batch,
    facts::{
        AdmittedRow, AttemptRow, DeliveryKey, DeliveryRow, EventRow, FilteredRow, LetterRow, OutcomeRow, PushKey,
        PushRow,
    },
    lost::{self, Again},
    position::{self, Positions},
    source::Source,
    writer::Writer,
};

/// The rows of a batch. What is of older messages than those sealed is told apart: their rows are counted and gone, or
/// wait to be settled.
pub(crate) struct Rows {
    deliveries: Vec<(DeliveryKey, DeliveryRow)>,
    old_deliveries: Vec<(DeliveryKey, DeliveryRow)>,
    events: Vec<EventRow>,
    outcomes: Vec<OutcomeRow>,
    admitted: Vec<AdmittedRow>,
    filtered: Vec<FilteredRow>,
    pushes: Vec<(PushKey, PushRow)>,
    old_pushes: Vec<(PushKey, PushRow)>,
    attempts: Vec<AttemptRow>,
    letters: Vec<LetterRow>,
    again: Again,
}

impl Rows {
    /// The rows of a batch, read up to these places.
    pub(crate) fn of(mut batch: Batch, writer: &Writer, positions: &Positions) -> Self {
        let sealed = |source: Source| {
            let sealed = writer.sealed.get(&source).copied().unwrap_or_default();
            let same = positions.get(&source).is_some_and(|position| position.made == sealed.made);
            if same { sealed.sequence } else { 0 }
        };
        let (webhooks, events, outcomes) = (sealed(Source::Webhooks), sealed(Source::Events), sealed(Source::Outcomes));
        batch.events.retain(|event| event.sequence > events);
        batch.outcomes.retain(|outcome| outcome.sequence > outcomes);
        for event in std::mem::take(&mut batch.events) {
            for wishes in writer.wishes.of(&event.org) {
                if let Some(row) = wishes.push(&event) {
                    batch.push(PushKey { event: event.id.clone(), endpoint: wishes.endpoint.clone() }, row);
                }
            }
            batch.events.push(event);
        }
        let (old_deliveries, deliveries) = batch.deliveries.into_iter().partition(|(key, _)| key.sequence <= webhooks);
        let (old_pushes, pushes) = batch.pushes.into_iter().partition(|(_, row)| row.sequence <= events);
        Self {
            deliveries,
            old_deliveries,
            events: batch.events,
            outcomes: batch.outcomes,
            admitted: batch.admitted.into_values().filter(|row| row.sequence > outcomes).collect(),
            filtered: batch.filtered.into_values().filter(|row| row.sequence > outcomes).collect(),
            pushes,
            old_pushes,
            attempts: batch.attempts,
            letters: batch.letters,
            again: batch.again,
        }
    }
}

/// Writes rows and how far the streams were read. Tells how many messages turned out to be lost, and nothing where
/// another process writes now.
pub(crate) async fn rows(writer: &mut Writer, rows: &Rows, positions: &Positions) -> Result<Option<u64>, Error> {
    let Some(mut write) = writer.lease.begin().await? else { return Ok(None) };
    let (db, statements): (&mut AnyConnection, _) = (&mut write, &mut writer.statements);
    statements.insert(db, &rows.deliveries).await?;
    for (key, row) in &rows.old_deliveries {
        amend_delivery(db, key, row).await?;
    }
    statements.insert(db, &rows.events).await?;
    statements.insert(db, &rows.outcomes).await?;
    statements.insert(db, &rows.admitted).await?;
    statements.insert(db, &rows.filtered).await?;
    statements.insert(db, &rows.pushes).await?;
    for (key, row) in &rows.old_pushes {
        amend_push(db, key, row).await?;
    }
    statements.insert(db, &rows.attempts).await?;
    statements.insert(db, &rows.letters).await?;
    let lost = lost::forget(db, &rows.again, positions).await?;
    for (source, position) in positions {
        if writer.positions.get(source) != Some(position) {
            position::save(db, *source, *position).await?;
        }
    }
    write.commit().await?;
    Ok(Some(lost))
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
