-- A contact that its user began to enrol at a terminal. If it is never confirmed it is removed; what an administrator added stays.
ALTER TABLE contacts ADD COLUMN begun INTEGER NOT NULL DEFAULT 0;

-- The keyed hash of the address that a message goes to: it counts towards that address's budget, though the contact be gone.
ALTER TABLE outbox ADD COLUMN address_mark BLOB NOT NULL DEFAULT x'';
