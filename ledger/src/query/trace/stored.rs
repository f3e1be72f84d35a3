//! The delivery itself: as its row tells, or its stream where the ledger has not reached it.

use nats::{Broker, Message, topology::GW_WEBHOOK};
use schemas::{Delivery, caller::Caller, header, instant, subject};
use serde::Serialize;
use sqlx::any::AnyRow;
use store::{Columns, Db};
use utoipa::ToSchema;

use crate::{error::Error, facts::Facts};

#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TraceReceived)]
pub(super) struct Received {
    at: Option<String>,
    event: Option<String>,
    account: Option<String>,
    origin: Option<String>,
    connection_id: Option<String>,
    /// Which secret matched: `current` or `previous`.
    signature_key: Option<String>,
    correlation_id: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TraceStored)]
pub(super) struct Stored {
    stream: &'static str,
    pub(super) sequence: i64,
    at: String,
    history: bool,
    /// Of the body; absent where `payloadRef` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<i64>,
    /// The object of the store `gw_payload` that holds the body, where it is too large for its message.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_ref: Option<String>,
}

/// A delivery as far as it is known.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) status: String,
    pub(super) received: Received,
    pub(super) stored: Option<Stored>,
    /// It is bound to an organisation: the caller's, where the caller is narrowed to one.
    pub(super) bound: bool,
    /// There is a row, be it that only others told of the delivery.
    pub(super) known: bool,
}

/// Looks for a delivery. One that is bound to another organisation than the caller's is not there.
pub(super) async fn find(
    db: &Db,
    broker: &Broker,
    caller: &Caller,
    provider: &str,
    delivery: &str,
    routed: bool,
) -> Result<Found, Error> {
    let row = newest(db, caller, provider, delivery).await?;
    let mut found = match &row {
        Some(row) => read(row)?,
        None => Found {
            status: "unknown".to_owned(),
            received: Received::default(),
            stored: None,
            bound: false,
            known: false,
        },
    };
    if found.stored.is_none()
        && let Some(message) = in_stream(broker, caller, provider, delivery).await?
    {
        found.bound = bound_to(&message).is_some();
        (found.received, found.stored) = of_message(&message);
        found.status = if routed { "routed" } else { "pending" }.to_owned();
    }
    Ok(found)
}

/// The delivery's row; the newest, should the id have been stored again after its retention. Who is narrowed to an
/// organisation has that which is bound to it first, and none that is bound to another.
async fn newest(db: &Db, caller: &Caller, provider: &str, delivery: &str) -> Result<Option<AnyRow>, Error> {
    let query = sqlx::query(
        "select * from deliveries where delivery_id = $1 and provider = $2 and ($3 = '' or org_id is null or org_id = $3)
         order by facts % 2 desc, case when org_id = $3 then 0 else 1 end, sequence desc limit 1",
    );
    let query = query.bind(delivery.to_owned()).bind(provider.to_owned()).bind(caller.org.clone().unwrap_or_default());
    Ok(query.fetch_optional(&db.pool).await?)
}

/// The organisation that a message's delivery is bound to.
fn bound_to(message: &Message) -> Option<String> {
    message.header(header::ORG).map(header::decode)
}

fn read(row: &AnyRow) -> Result<Found, Error> {
    let columns = Columns { row, table: "deliveries", prefix: "" };
    let status = columns.text("state")?;
    if columns.number("facts")? & Facts::STORED.0 == 0 {
        return Ok(Found { status, received: Received::default(), stored: None, bound: false, known: true });
    }
    let received = Received {
        at: columns.optional_number("received_at")?.map(instant::rfc3339),
        event: columns.optional_text("event")?,
        account: columns.optional_text("account")?,
        origin: columns.optional_text("origin")?,
        connection_id: columns.optional_text("connection_id")?,
        signature_key: columns.optional_text("signature_key")?,
        correlation_id: columns.optional_text("correlation")?,
    };
    let payload_ref = columns.optional_text("payload_ref")?;
    let stored = Stored {
        stream: GW_WEBHOOK,
        sequence: columns.number("sequence")?,
        at: instant::rfc3339(columns.optional_number("stored_at")?.unwrap_or_default()),
        history: columns.optional_number("history")? == Some(1),
        bytes: columns.optional_number("bytes")?.filter(|_| payload_ref.is_none()),
        payload_ref,
    };
    let bound = columns.optional_text("org_id")?.is_some();
    Ok(Found { status, received, stored: Some(stored), bound, known: true })
}

/// The delivery's message, live or history, that is not bound to another organisation than the caller's.
async fn in_stream(broker: &Broker, caller: &Caller, provider: &str, delivery: &str) -> Result<Option<Message>, Error> {
    for history in [false, true] {
        let filter = subject::webhook_by_id(history, provider, delivery);
        if let Some(message) = nats::next_from(broker, GW_WEBHOOK, 1, &filter).await?
            && bound_to(&message).is_none_or(|org| caller.sees(&org))
        {
            return Ok(Some(message));
        }
    }
    Ok(None)
}

fn of_message(message: &Message) -> (Received, Option<Stored>) {
    let received = match Delivery::from_headers(&message.header_list()) {
        Ok(delivery) => Received {
            at: Some(instant::rfc3339(delivery.received_at)),
            event: delivery.event,
            account: delivery.account,
            origin: Some(delivery.origin.to_string()),
            connection_id: delivery.bound.map(|bound| bound.connection),
            signature_key: delivery.signature_key,
            correlation_id: delivery.correlation,
        },
        Err(_unreadable) => Received::default(),
    };
    let payload_ref = message.header(header::PAYLOAD_REF).map(header::decode);
    let stored = Stored {
        stream: GW_WEBHOOK,
        sequence: i64::try_from(message.sequence).unwrap_or(i64::MAX),
        at: instant::rfc3339(message.stored_at),
        history: subject::is_history(&message.subject),
        bytes: i64::try_from(message.payload.len()).ok().filter(|_| payload_ref.is_none()),
        payload_ref,
    };
    (received, Some(stored))
}
