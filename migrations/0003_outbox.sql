-- What the broker does not know yet: a row is written with the change it tells of, so that a crash between the two cannot happen.
create table outbox (
    kind text not null check (kind in ('connection', 'link')),
    subject_id text not null,
    version bigint not null,
    what text check (what in ('connected', 'linked', 'unlinked')),
    created_at bigint not null,
    primary key (kind, subject_id, version)
);

create index outbox_created_at on outbox (created_at);
