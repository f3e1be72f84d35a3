-- Who the router says got an event, where that is several organisations or not all who claim the delivery.
create table admitted (
    org_id text not null,
    delivery_sequence bigint not null,
    provider text not null,
    delivery_id text not null,
    sequence bigint not null,
    stored_at bigint not null,
    primary key (org_id, delivery_sequence, provider, delivery_id)
);

create index admitted_sequence on admitted (sequence);

-- They are named there now.
alter table outcomes drop column events;

-- The links that admitted an event, as JSON.
alter table events add column links text;
