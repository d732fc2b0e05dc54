-- What is remembered, in the order in which it was written. A row is never
-- changed by a turn: settling writes a new one at the end, which names the
-- row that it takes the place of. Rows that were replaced are removed later,
-- many at a time and the lowest first.
CREATE TABLE entry (
    seq INTEGER PRIMARY KEY,
    prev INTEGER,
    id BLOB NOT NULL,
    root BLOB,
    head BLOB,
    name BLOB,
    space BLOB NOT NULL,
    used INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    value BLOB NOT NULL
) STRICT;

-- The rows that are claimed and not settled. With what settling has to know
-- of them.
CREATE TABLE lease (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    root BLOB,
    name BLOB,
    until INTEGER NOT NULL,
    fence INTEGER NOT NULL
) STRICT;

-- The highest seq that was ever given, and how many entries there are.
CREATE TABLE tally (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    last INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    named INTEGER NOT NULL
) STRICT;
INSERT INTO tally VALUES (1, 0, 0, 0);

CREATE TABLE secret (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    value BLOB NOT NULL
) STRICT;
