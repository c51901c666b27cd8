"""The oracle of "exactly once": increments, counted by the server.

Every reading starts with its id as value. A script adds 10, which shows when
it happens twice or never. A trigger counts the writes of each row apart from
the values; the model of the end is a pure function of the beginning.
"""

import random
import threading

import psycopg2

STEP = 10

SCHEMA = """
CREATE TABLE readings (
    id bigint PRIMARY KEY,
    value bigint NOT NULL,
    theirs bigint NOT NULL DEFAULT 0,
    writes bigint NOT NULL DEFAULT 0);
CREATE TABLE marks (mark text NOT NULL);
CREATE FUNCTION count_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.writes := OLD.writes + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER count_write BEFORE UPDATE ON readings FOR EACH ROW
    WHEN (NEW.theirs = OLD.theirs) EXECUTE FUNCTION count_write();
"""

SCRIPT = """
local function mark(name)
  return function(repo) repo:insert("marks", {{ mark = name }}) end
end
return {{
  config = {{ batch_size = {batch}, throttle_ms = {throttle}{config} }},
  base_query = "SELECT id, value FROM readings",
  migrate = function(rows, repo)
    {migrate}
  end,
  on_start = mark "started",
  on_complete = mark "completed",
}}
"""

ROW_BY_ROW = """
    for _, row in ipairs(rows) do
      repo:update("readings", { id = row.id }, { value = row.value + 10 })
    end"""


def prepared(script):
    """A script that goes row by row, with the new values from prepare."""
    assert ROW_BY_ROW in script
    return script.replace(ROW_BY_ROW, ROW_BY_ROW.replace(
        "row.value + 10", "run.prepared[row.id]")).replace(
            "migrate = function(rows, repo)", """prepare = function(rows)
    local results = {}
    for _, row in ipairs(rows) do results[row.id] = row.value + 10 end
    return results
  end,
  migrate = function(rows, repo, run)""")


# One statement a batch, where only the number of batches matters.
SET_BASED = """
    repo:execute("UPDATE readings SET value = value + 10 "
      .. "WHERE id BETWEEN $1 AND $2", rows[1].id, rows[#rows].id)"""


def create(db, count):
    db.execute(SCHEMA)
    db.execute("INSERT INTO readings (id, value) "
               "SELECT n, n FROM generate_series(1, %s) n", count)
    db.execute("ANALYZE readings")


def script(batch, throttle=0, migrate=ROW_BY_ROW, config=""):
    return SCRIPT.format(batch=batch, throttle=throttle, migrate=migrate,
                         config=config and ", " + config)


def assert_each_once(db, callbacks=True, failed=()):
    """Every row was changed once, but those that failed, which were not;
    nobody else's change is lost, and each callback has left one mark."""
    wrong = db.rows(
        "SELECT id, value, theirs, writes FROM (SELECT *, (id <> ALL (%s))::int"
        " AS due FROM readings) r WHERE writes <> due "
        "OR value <> id + %s * due + theirs ORDER BY id LIMIT 5",
        list(failed), STEP)
    assert not wrong, f"(id, value, theirs, writes) of wrong rows: {wrong}"
    if callbacks:
        marks = db.column("SELECT mark FROM marks ORDER BY mark")
        assert marks == ["completed", "started"]


def assert_journal_agrees(db, failed=()):
    """The latest run is done and has counted every reading."""
    count = db.scalar("SELECT count(*) FROM readings") - len(failed)
    state = "done_with_failures" if failed else "done"
    assert (db.state(), db.progress()) == (state, count)
    assert db.progress("failures") == len(failed)
    assert db.rows("SELECT id FROM luamig.range", user="postgres") == []


class Neighbour:
    """Another session that keeps adding 1 to random readings, and remembers
    what was acknowledged."""

    def __init__(self, db, count, seed):
        self._db, self._count = db, count
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.mine = {}
        self.error = None

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(60)

    def _work(self):
        link = self._db.connect()
        try:
            while not self._stop.is_set():
                self._add(link)
        except psycopg2.Error as error:
            self.error = error
        finally:
            link.close()

    def _add(self, link):
        row = self._random.randint(1, self._count)
        with link.cursor() as cursor:
            cursor.execute("UPDATE readings SET value = value + 1, "
                           "theirs = theirs + 1 WHERE id = %s", (row,))
        self.mine[row] = self.mine.get(row, 0) + 1

    def assert_nothing_lost(self):
        assert self.error is None, self.error
        assert self.mine, "the neighbour has written nothing"
        kept = dict(self._db.rows(
            "SELECT id, theirs FROM readings WHERE theirs > 0"))
        assert kept == self.mine
