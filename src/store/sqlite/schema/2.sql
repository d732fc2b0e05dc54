-- The keys of an entry stand in one column (see packed.rs), and what is
-- remembered is no JSON any more. No release has written form 1: what is in a
-- file of that form is forgotten, so that those chats are replayed.
DROP TABLE entry;
CREATE TABLE entry (
    seq INTEGER PRIMARY KEY,
    prev INTEGER,
    keys BLOB NOT NULL,
    used INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    value BLOB NOT NULL
) STRICT;
DELETE FROM lease;
UPDATE tally SET entries = 0, named = 0;
