-- What the streams tell of each delivery. `facts` are bits, so that streams may be read in any order: 1 stored, 2 an event, 4 filtered, 8 parked, 16 released, 32 dead, 64 given up. A row without the first bit was not seen in GW_WEBHOOK yet.
create table deliveries (
    sequence bigint not null,
    provider text not null,
    delivery_id text not null,
    facts bigint not null,
    state text generated always as (case
        when facts & 1 = 0 then 'unknown'
        when facts & 18 = 18 then 'released'
        when facts & 2 = 2 then 'routed'
        when facts & 32 = 32 then 'dead'
        when facts & 4 = 4 then 'filtered'
        when facts & 64 = 64 then 'expired'
        when facts & 8 = 8 then 'parked'
        else 'pending' end) stored,
    received_at bigint,
    stored_at bigint,
    event text,
    account text,
    origin text,
    history bigint,
    connection_id text,
    signature_key text,
    correlation text,
    bytes bigint,
    reason text,
    letter bigint,
    primary key (sequence, provider, delivery_id)
);

create index deliveries_delivery_id on deliveries (delivery_id, provider);
create index deliveries_stored_at on deliveries (stored_at, sequence);
create index deliveries_state on deliveries (state, stored_at, sequence, provider);

-- The events of GW_EVENT, and where each stands there.
create table events (
    sequence bigint not null,
    event_id text not null,
    org_id text not null,
    provider text not null,
    delivery_id text not null,
    delivery_sequence bigint not null,
    kind text not null,
    origin text not null,
    history bigint not null,
    replay text,
    connection_id text,
    stored_at bigint not null,
    primary key (sequence, event_id)
);

create index events_delivery_id on events (delivery_id, provider);
create index events_org_id on events (org_id, sequence, kind, history, stored_at);
create index events_org_delivery on events (org_id, delivery_sequence);

-- The messages of GW_OUTCOME.
create table outcomes (
    sequence bigint not null,
    stored_at bigint not null,
    provider text not null,
    delivery_id text not null,
    delivery_sequence bigint not null,
    outcome text not null,
    reason text,
    events bigint not null,
    route_revision bigint not null,
    decided_at bigint not null,
    primary key (sequence, stored_at)
);

create index outcomes_delivery_id on outcomes (delivery_id, provider);

-- Organisations whose filters admitted nothing of a delivery.
create table filtered (
    org_id text not null,
    delivery_sequence bigint not null,
    provider text not null,
    delivery_id text not null,
    links text not null,
    sequence bigint not null,
    decided_at bigint not null,
    primary key (org_id, delivery_sequence, provider, delivery_id)
);

create index filtered_delivery_id on filtered (delivery_id, provider);
create index filtered_sequence on filtered (sequence);

-- Where each push of an event to an endpoint stands: the newest attempt decides. `admitted` is 1 where a version of the endpoint admits the event, 0 where only an attempt says so.
create table pushes (
    event_id text not null,
    endpoint_id text not null,
    org_id text not null,
    sequence bigint not null,
    stored_at bigint,
    admitted bigint not null,
    state text not null check (state in ('pending', 'scheduled', 'held', 'delivered', 'dead', 'dropped', 'expired')),
    attempts bigint not null,
    next_at bigint,
    last_status bigint,
    last_error text,
    reason text,
    replay text,
    updated_at bigint not null,
    updated_sequence bigint not null,
    primary key (event_id, endpoint_id)
);

create index pushes_endpoint_id on pushes (endpoint_id, state, sequence, admitted);
create index pushes_sequence on pushes (sequence);

-- The messages of GW_ATTEMPT.
create table attempts (
    sequence bigint not null,
    stored_at bigint not null,
    event_id text not null,
    endpoint_id text not null,
    attempt bigint not null,
    outcome text not null,
    status_code bigint,
    error_class text,
    latency_ms bigint,
    began_at bigint not null,
    next_at bigint,
    reason text,
    replay text,
    primary key (sequence, stored_at)
);

create index attempts_event_id on attempts (event_id, endpoint_id);

-- The messages of GW_DLQ: their sequence is the letter's id.
create table letters (
    sequence bigint not null,
    stored_at bigint not null,
    stage text not null,
    reason text not null,
    detail text,
    stream text not null,
    stream_sequence bigint not null,
    provider text not null,
    delivery_id text not null,
    endpoint_id text,
    event_id text,
    primary key (sequence, stored_at)
);

create index letters_delivery_id on letters (delivery_id, provider);

-- How far each stream was read. `made` tells a stream from another of its name; `missed` counts what it gave up before it was read.
create table ledger_positions (
    stream text not null primary key,
    made bigint not null,
    sequence bigint not null,
    missed bigint not null
);

-- Who writes the ledger, and who asked that it be rebuilt.
create table ledger_lease (
    name text not null primary key,
    owner text not null,
    held_until bigint not null
);

-- What rows that are gone had counted, and up to where of each stream.
create table ledger_totals (
    kind text not null check (kind in ('provider', 'organisation', 'endpoint')),
    id text not null,
    state text not null,
    number bigint not null,
    primary key (kind, id, state)
);

create table ledger_sealed (
    stream text not null primary key,
    made bigint not null,
    sequence bigint not null
);

-- Up to which version an endpoint's wishes were applied to its pushes.
create table ledger_endpoints (
    endpoint_id text not null primary key,
    version bigint not null
);
