-- An organisation's authorised accounts: two organisations may each connect one account, so the three are unique together.
create table connections (
    id text not null primary key,
    org_id text not null,
    provider text not null,
    account text not null,
    status text not null check (status in ('pending', 'active', 'error', 'closing', 'revoked')),
    generation bigint not null check (generation > 0),
    version bigint not null check (version > 0),
    created_at bigint not null,
    updated_at bigint not null,
    unique (org_id, provider, account)
);
