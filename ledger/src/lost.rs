//! What a broker lost when it died: it had handed messages out, and their places are those of others now.

use std::collections::BTreeMap;

use sqlx::AnyConnection;
use store::{Columns, Error};

use crate::{
    facts::{DeliveryKey, Facts},
    position::Positions,
    source::Source,
};

/// What stands where something was read before, by its place.
#[derive(Debug, Default)]
pub(crate) struct Again {
    pub(crate) deliveries: BTreeMap<i64, DeliveryKey>,
    /// Their ids.
    pub(crate) events: BTreeMap<i64, String>,
}

/// Takes back what was written of messages that are not there any more, and tells how many there were. What became of
/// such a delivery is kept for the day that its sender repeats it.
pub(crate) async fn forget(db: &mut AnyConnection, again: &Again, positions: &Positions) -> Result<u64, Error> {
    // What was stored before was in another stream of the name.
    let made_at = |source: Source| positions.get(&source).map_or(0, |position| position.made / 1_000_000);
    let mut lost = deliveries(db, again, made_at(Source::Webhooks)).await?;
    lost += events(db, again, made_at(Source::Events)).await?;
    Ok(lost)
}

async fn deliveries(db: &mut AnyConnection, again: &Again, made_at: i64) -> Result<u64, Error> {
    let Some((first, last)) = range(&again.deliveries) else { return Ok(0) };
    let query = sqlx::query(
        "select sequence, provider, delivery_id from deliveries
         where sequence >= $1 and sequence <= $2 and stored_at >= $3 and facts & 1 = 1",
    );
    let mut lost = 0;
    for row in &query.bind(first).bind(last).bind(made_at).fetch_all(&mut *db).await? {
        let columns = Columns { row, table: "deliveries", prefix: "" };
        let key = DeliveryKey {
            sequence: columns.number("sequence")?,
            provider: columns.text("provider")?,
            delivery: columns.text("delivery_id")?,
        };
        if again.deliveries.get(&key.sequence).is_some_and(|there| *there != key) {
            take_back(db, &key, Facts::STORED).await?;
            lost += 1;
        }
    }
    Ok(lost)
}

async fn events(db: &mut AnyConnection, again: &Again, made_at: i64) -> Result<u64, Error> {
    let Some((first, last)) = range(&again.events) else { return Ok(0) };
    let query = sqlx::query(
        "select sequence, event_id, delivery_sequence, provider, delivery_id from events
         where sequence >= $1 and sequence <= $2 and stored_at >= $3",
    );
    let mut lost = 0;
    for row in &query.bind(first).bind(last).bind(made_at).fetch_all(&mut *db).await? {
        let columns = Columns { row, table: "events", prefix: "" };
        let (sequence, id) = (columns.number("sequence")?, columns.text("event_id")?);
        if again.events.get(&sequence).is_none_or(|there| *there == id) {
            continue;
        }
        let delivery = DeliveryKey {
            sequence: columns.number("delivery_sequence")?,
            provider: columns.text("provider")?,
            delivery: columns.text("delivery_id")?,
        };
        event(db, sequence, &id, &delivery).await?;
        lost += 1;
    }
    Ok(lost)
}

/// An event goes with the pushes that only it told of. What was pushed was pushed.
async fn event(db: &mut AnyConnection, sequence: i64, id: &str, delivery: &DeliveryKey) -> Result<(), Error> {
    for statement in [
        "delete from events where sequence = $1 and event_id = $2",
        "delete from pushes where sequence = $1 and event_id = $2 and attempts = 0",
        "update pushes set admitted = 0 where sequence = $1 and event_id = $2",
    ] {
        sqlx::query(statement).bind(sequence).bind(id.to_owned()).execute(&mut *db).await?;
    }
    let query =
        sqlx::query("select count(*) from events where delivery_id = $1 and provider = $2 and delivery_sequence = $3");
    let query = query.bind(delivery.delivery.clone()).bind(delivery.provider.clone()).bind(delivery.sequence);
    if crate::position::only(&query.fetch_one(&mut *db).await?)? == 0 {
        take_back(db, delivery, Facts::EVENT).await?;
    }
    Ok(())
}

/// Takes a bit from a delivery, where it has it.
async fn take_back(db: &mut AnyConnection, key: &DeliveryKey, fact: Facts) -> Result<(), Error> {
    let query = sqlx::query(
        "update deliveries set facts = facts - $1
         where sequence = $2 and provider = $3 and delivery_id = $4 and facts & $1 = $1",
    );
    let query = query.bind(fact.0).bind(key.sequence).bind(key.provider.clone()).bind(key.delivery.clone());
    query.execute(db).await?;
    Ok(())
}

fn range<T>(places: &BTreeMap<i64, T>) -> Option<(i64, i64)> {
    Some((*places.first_key_value()?.0, *places.last_key_value()?.0))
}
