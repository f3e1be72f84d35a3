-- The object that holds the body, where the message does not: its bytes are not known then.
alter table deliveries add column payload_ref text;
