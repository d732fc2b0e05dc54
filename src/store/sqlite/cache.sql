-- What is kept for a time. Each value that is written is a new row.
CREATE TABLE cache (
    seq INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    value BLOB NOT NULL,
    until INTEGER NOT NULL
) STRICT;
CREATE INDEX cache_until ON cache (until);
