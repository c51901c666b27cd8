"""A row that everybody writes: a counter behind a trigger."""

import threading

import pytest

from harness.project import DONE, FAILED

SCHEMA = """
CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
CREATE TABLE counter (id int PRIMARY KEY, hits bigint NOT NULL);
INSERT INTO counter VALUES (1, 0);
CREATE FUNCTION hit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE counter SET hits = hits + 1 WHERE id = 1;
    RETURN NEW;
END $$;
CREATE TRIGGER hit BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION hit();
"""
SCRIPT = """return {
  config = { batch_size = 10, throttle_ms = 0 %s },
  base_query = "SELECT id, n FROM t",
  migrate = function(rows, repo)
    repo:query("SELECT pg_sleep(0.005)")
    for _, row in ipairs(rows) do
      repo:update("t", { id = row.id }, { n = row.n + 1 })
    end
  end }"""


class Writers:
    """Update the counter as often as they are told."""

    def __init__(self, db, pause, end_after=None):
        self.stopping = threading.Event()
        self.db, self.pause, self.end_after = db, pause, end_after
        self.thread = threading.Thread(target=self._write)
        self.thread.start()

    def _write(self):
        link = self.db.connect()
        cursor = link.cursor()
        if self.end_after:
            timer = threading.Timer(self.end_after, self.stopping.set)
            timer.start()
        while not self.stopping.is_set():
            cursor.execute("UPDATE counter SET hits = hits + 1 WHERE id = 1")
            self.stopping.wait(self.pause)
        link.close()

    def stop(self):
        self.stopping.set()
        self.thread.join()


@pytest.fixture
def hot(db):
    db.execute(SCHEMA)
    db.execute("INSERT INTO t SELECT i FROM generate_series(1, 20) i")
    started = []

    def start(pause, end_after=None):
        started.append(Writers(db, pause, end_after))
    yield start
    for writers in started:
        writers.stop()


def test_a_hot_row_is_tried_for_longer_than_a_few_attempts(db, project, hot):
    """Others leave off after a while, when all attempts have been made."""
    hot(0.001, end_after=9)
    project.script(SCRIPT % "")
    project.run().expect(DONE)
    assert db.column("SELECT DISTINCT n FROM t") == [1]


def test_the_hint_for_a_hot_row_can_be_followed(db, project, hot):
    hot(0)
    project.script(SCRIPT.replace("0.005", "0.1") % ", retries = 1")
    project.run(env={"LUAMIG_FAULT_PATIENCE_MS": "2000"}).expect(FAILED, "gave up after", "40001",
                         'config.isolation = "read committed"')
    project.script(SCRIPT % ', isolation = "read committed"')
    project.run().expect(DONE)
    assert db.column("SELECT DISTINCT n FROM t") == [1]


def test_no_retries_means_none(db, project, hot):
    hot(0)
    project.script(SCRIPT.replace("0.005", "0.1") % ", retries = 0")
    project.run().expect(FAILED, "gave up after 1 attempt")
