//! Reads the streams again from their first message. What they no longer hold is sealed into totals before, so that
//! nothing is forgotten and nothing counted twice. Attempts count for nothing, and are given up before their events are:
//! those that the stream no longer holds stay, and so do the pushes that only they told of.

use sqlx::Row as _;
use store::Columns;
use tracing::info;

use crate::{
    Inner,
    error::Error,
    extent::Extent,
    lease::{self, Lease},
    maintain::STEP,
    position,
    prune::{Counted, add},
    source::Source,
};

/// Tables whose rows come from the streams alone, and where the rows that stay begin: those at or below it are not
/// settled, and what the streams tell of them is added to them.
const TABLES: [(&str, Source); 8] = [
    ("deliveries", Source::Webhooks),
    ("events", Source::Events),
    ("pushes", Source::Events),
    ("outcomes", Source::Outcomes),
    ("admitted", Source::Outcomes),
    ("filtered", Source::Outcomes),
    ("attempts", Source::Attempts),
    ("letters", Source::Letters),
];

/// Rebuilds the ledger: empties it and sets the places to read from back. Done again where it was interrupted.
pub(crate) async fn run(inner: &Inner, lease: &Lease) -> Result<(), Error> {
    info!("ledger.rebuild");
    let mut kept = Vec::new();
    for counted in Counted::ALL {
        let source = counted.source();
        let extent = Extent::ask(&inner.deps.broker, source.stream()).await?;
        kept.push((source, seal(lease, counted, extent).await?));
    }
    let attempts = Extent::ask(&inner.deps.broker, Source::Attempts.stream()).await?;
    for (table, source) in TABLES {
        let above = kept.iter().find(|(kept, _)| *kept == source).map_or(0, |(_, sequence)| *sequence);
        clear(lease, table, above, attempts).await?;
    }
    let Some(mut write) = lease.begin().await? else { return Ok(()) };
    for statement in ["delete from ledger_endpoints", "update ledger_positions set sequence = 0"] {
        sqlx::query(statement).execute(&mut *write).await?;
    }
    lease::rebuild_done(&mut write, lease.clock.now()).await?;
    write.commit().await?;
    info!("ledger.rebuild: the streams are read again from their first messages");
    Ok(())
}

/// Seals the rows whose messages the stream no longer holds. Gives the place up to where rows are sealed.
async fn seal(lease: &Lease, counted: Counted, extent: Extent) -> Result<i64, Error> {
    let source = counted.source();
    let sealed = position::sealed(&lease.db).await?.get(&source).copied().unwrap_or_default();
    let same = position::load(&lease.db).await?.get(&source).is_some_and(|position| position.made == extent.made);
    // Rows of another stream of the name are gone from it, whatever their place.
    let gone = if same { extent.first - 1 } else { i64::MAX };
    let mut after = if sealed.made == extent.made { sealed.sequence } else { 0 };
    while let Some(until) = boundary(lease, counted, after, gone).await? {
        let Some(mut write) = lease.begin().await? else { return Ok(after) };
        counted.seal(&mut write, after, until).await?;
        if same {
            position::seal(&mut write, source, extent.made, until).await?;
        }
        write.commit().await?;
        after = until;
    }
    if same { Ok(after) } else { close(lease, counted).await.map(|()| 0) }
}

/// The place of the last of the next rows that are gone.
async fn boundary(lease: &Lease, counted: Counted, after: i64, gone: i64) -> Result<Option<i64>, Error> {
    let rows = sqlx::query(counted.next()).bind(after).bind(STEP).fetch_all(&lease.db.pool).await?;
    let places = rows.iter().map(|row| row.try_get::<i64, _>(0)).collect::<Result<Vec<_>, _>>()?;
    Ok(places.into_iter().take_while(|place| *place <= gone).last())
}

/// What was not settled when its stream was lost never will be: it is counted as expired and deleted, in steps.
async fn close(lease: &Lease, counted: Counted) -> Result<(), Error> {
    while close_some(lease, counted).await? {}
    Ok(())
}

/// One step. Tells whether there is more to do.
async fn close_some(lease: &Lease, counted: Counted) -> Result<bool, Error> {
    let [next, counts, delete] = match counted {
        Counted::Deliveries => [
            "select sequence from deliveries order by sequence limit 1 offset $1",
            "select 'provider' as kind, provider as id, 'expired' as state, count(*) as number from deliveries
             where facts % 2 = 1 and sequence <= $1 group by provider",
            "delete from deliveries where sequence <= $1",
        ],
        // Of a push whose event was not seen an attempt may tell that it is settled.
        Counted::Events => [
            "select sequence from pushes order by sequence limit 1 offset $1",
            "select 'endpoint' as kind, endpoint_id as id, state, count(*) as number from (
                 select endpoint_id, case when state in ('pending', 'held', 'scheduled') then 'expired' else state end as state
                 from pushes where sequence <= $1) closed group by endpoint_id, state",
            "delete from pushes where sequence <= $1",
        ],
        Counted::Filtered => return Ok(false),
    };
    let last = sqlx::query(next).bind(STEP - 1).fetch_optional(&lease.db.pool).await?;
    let last = last.map(|row| row.try_get::<i64, _>(0)).transpose()?;
    let until = last.unwrap_or(i64::MAX);
    let Some(mut write) = lease.begin().await? else { return Ok(false) };
    for row in &sqlx::query(counts).bind(until).fetch_all(&mut *write).await? {
        let columns = Columns { row, table: "ledger_totals", prefix: "" };
        let (kind, id, state) = (columns.text("kind")?, columns.text("id")?, columns.text("state")?);
        add(&mut write, &kind, &id, &state, columns.number("number")?).await?;
    }
    sqlx::query(delete).bind(until).execute(&mut *write).await?;
    write.commit().await?;
    Ok(last.is_some())
}

/// Rows that stay, as only attempts that are gone told of them: before this place, or from another stream of the name.
fn stays(table: &str) -> Option<&'static str> {
    match table {
        "attempts" => Some("sequence < $3 or stored_at < $4"),
        "pushes" => Some("updated_sequence > 0 and (updated_sequence < $3 or updated_at < $4)"),
        _ => None,
    }
}

/// Deletes the rows above a place, in steps.
async fn clear(lease: &Lease, table: &str, above: i64, attempts: Extent) -> Result<(), Error> {
    let last =
        format!("select sequence from {table} where sequence > $1 order by sequence limit 1 offset {}", STEP * 10);
    let stays = stays(table);
    let unless = stays.map_or_else(String::new, |stays| format!(" and not ({stays})"));
    let delete = format!("delete from {table} where sequence > $1 and sequence <= $2{unless}");
    let mut above = above;
    loop {
        let step = sqlx::query(sqlx::AssertSqlSafe(last.clone())).bind(above);
        let step = step.fetch_optional(&lease.db.pool).await?.map(|row| row.try_get::<i64, _>(0)).transpose()?;
        let Some(mut write) = lease.begin().await? else { return Ok(()) };
        let delete = sqlx::query(sqlx::AssertSqlSafe(delete.clone())).bind(above).bind(step.unwrap_or(i64::MAX));
        let delete = if stays.is_some() { delete.bind(attempts.first).bind(attempts.made_at()) } else { delete };
        delete.execute(&mut *write).await?;
        if table == "pushes" {
            // The event says so again when it is read, unless its stream gives it up before.
            let kept = sqlx::query("update pushes set admitted = 0 where sequence > $1 and sequence <= $2");
            kept.bind(above).bind(step.unwrap_or(i64::MAX)).execute(&mut *write).await?;
        }
        write.commit().await?;
        let Some(step) = step else { return Ok(()) };
        above = step;
    }
}

#[cfg(test)]
mod tests {
    use schemas::ambient::Clock;
    use store::{Db, testing};

    use super::*;

    async fn number(db: &Db, sql: &'static str) -> i64 {
        position::only(&sqlx::query(sql).fetch_one(&db.pool).await.expect("a row")).expect("a number")
    }

    #[tokio::test]
    async fn what_a_lost_stream_left_unsettled_is_closed_in_steps_and_counted_once() {
        testing::on_each(|db| async move {
            let clock = Clock::new(|| 1_000_000);
            let lease = Lease { db: db.clone(), clock, owner: "ledger-test".to_owned() };
            assert!(lease.acquire().await.expect("a database"));
            let mut write = lease.begin().await.expect("a database").expect("the lease");
            for sequence in 1..=2 * STEP + 7 {
                let state = if sequence % 10 == 0 { "delivered" } else { "pending" };
                let delivery = "insert into deliveries (sequence, provider, delivery_id, facts) values ($1, 'github', 'd', 1)";
                sqlx::query(delivery).bind(sequence).execute(&mut *write).await.expect("a delivery");
                let push = "insert into pushes (event_id, endpoint_id, org_id, sequence, admitted, state, attempts, updated_at, updated_sequence)
                    values ($1, 'ep_1', 'org_1', $2, 1, $3, 0, 0, 0)";
                let push = sqlx::query(push).bind(format!("e{sequence}")).bind(sequence).bind(state);
                push.execute(&mut *write).await.expect("a push");
            }
            write.commit().await.expect("kept");
            for (counted, left, closed) in [
                (Counted::Deliveries, "select count(*) from deliveries", STEP),
                (Counted::Events, "select count(*) from pushes", STEP - STEP / 10),
            ] {
                let expired = "select cast(sum(number) as bigint) from ledger_totals where state = 'expired'";
                let before = number(&db, expired).await;
                assert!(close_some(&lease, counted).await.expect("a step"), "there is more");
                assert_eq!((number(&db, left).await, number(&db, expired).await), (STEP + 7, before + closed));
                close(&lease, counted).await.expect("all of it");
                assert_eq!(number(&db, left).await, 0);
            }
            let totals = "select number from ledger_totals where id =";
            let of = |rest: &str| format!("{totals} {rest}");
            for (what, wanted) in [
                (of("'github' and state = 'expired'"), 2 * STEP + 7),
                (of("'ep_1' and state = 'expired'"), 2 * STEP + 7 - 2 * STEP / 10),
                (of("'ep_1' and state = 'delivered'"), 2 * STEP / 10),
            ] {
                let row = sqlx::query(sqlx::AssertSqlSafe(what)).fetch_one(&db.pool).await.expect("a total");
                assert_eq!(position::only(&row).expect("a number"), wanted);
            }
        })
        .await;
    }
}
