-- Keys of the API, known by their hash alone. One without an organisation is an admin's.
create table api_keys (
    id text not null primary key,
    name text,
    org_id text,
    scope text not null check (scope in ('admin', 'read')),
    hash text not null unique,
    created_at bigint not null,
    last_used_at bigint,
    revoked_at bigint,
    check ((scope = 'read') = (org_id is not null))
);
