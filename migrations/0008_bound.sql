-- The organisation that a delivery is bound to: its sender named the connection, and nobody else gets any of it.
alter table deliveries add column org_id text;

create index deliveries_org_id on deliveries (org_id, sequence) where org_id is not null;
