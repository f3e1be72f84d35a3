-- What an organisation wants of a connection: a removed link keeps its row, so that its version goes on counting when it is revived.
create table links (
    id text not null primary key,
    connection_id text not null references connections (id),
    level text not null check (level in ('account', 'resource')),
    kind text not null,
    target text not null,
    resource_name text,
    workspace_id text not null default '',
    sync_events text,
    auto_sync bigint check (auto_sync in (0, 1)),
    source_config text,
    status text not null check (status in ('active', 'removed')),
    version bigint not null check (version > 0),
    created_at bigint not null,
    updated_at bigint not null,
    unique (connection_id, level, target, workspace_id)
);
