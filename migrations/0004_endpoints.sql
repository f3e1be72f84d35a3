-- Where organisations want events pushed. A deleted endpoint keeps its row without its secrets: attempts still name it.
create table endpoints (
    id text not null primary key,
    org_id text not null,
    url text not null,
    events text not null,
    format text not null check (format in ('envelope', 'cloudevents')),
    headers_sealed text,
    timeout_seconds bigint not null,
    retry_schedule text not null,
    concurrency bigint not null,
    rate_per_second bigint,
    ordered bigint not null check (ordered in (0, 1)),
    history bigint not null check (history in (0, 1)),
    status text not null check (status in ('active', 'paused', 'disabled')),
    status_reason text,
    start_sequence bigint,
    start_time bigint,
    secret_sealed text,
    previous_secret_sealed text,
    previous_until bigint,
    version bigint not null check (version > 0),
    created_at bigint not null,
    updated_at bigint not null,
    deleted_at bigint,
    check ((start_sequence is null) <> (start_time is null)),
    check (secret_sealed is not null or deleted_at is not null)
);

create index endpoints_org_id on endpoints (org_id, created_at, id);

-- What an endpoint admitted from when on: a row for its first wishes, for each change of them, and one that admits nothing when it is deleted.
create table endpoint_versions (
    endpoint_id text not null references endpoints (id),
    version bigint not null,
    org_id text not null,
    events text not null,
    history bigint not null check (history in (0, 1)),
    from_at bigint not null,
    primary key (endpoint_id, version)
);

create index endpoint_versions_org_id on endpoint_versions (org_id, from_at);
