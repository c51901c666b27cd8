"""What people see of a run with several workers."""

import json
import re

import pytest

from harness import old_journal, readings
from harness.oracle import assert_once
from harness.project import CANCELLED, DONE
from harness.terminal import Terminal, at_a_terminal
from harness.wait import wait_until

LINE = (r"worker: +(\d) of process (\d+) on \S+: [\d,]+ rows?, [\d,]+ rows/s,"
        r" keys after \d+, up to \d+; works")


@pytest.fixture
def at_work(db, project):
    """A run of three workers that would last for minutes."""
    readings.create(db, 30000)
    project.script(readings.script(batch=10, throttle=100))
    runner = project.start_run("--workers", 3, "--log", "json")
    wait_until(lambda: db.has_journal() and db.scalar(
        "SELECT count(*) FROM luamig.range WHERE owner IS NOT NULL AND rows > 0"
        ) == 3, "three workers")
    yield runner
    project.luamig("cancel", 1).expect(DONE)
    runner.wait().expect(CANCELLED)


def test_status_shows_who_does_what(project, at_work):
    shown = project.luamig("status", 1).expect(DONE).out
    told = re.findall(LINE, shown)
    assert told == [(str(n), str(at_work.pid)) for n in (1, 2, 3)], shown
    run = json.loads(project.luamig("status", 1, "--json").expect(DONE).out)[0]
    workers = run["workers"]
    assert [(w["worker"], w["pid"], w["leads"], w["doing"])
            for w in workers] == [(n, at_work.pid, n == 1, "works")
                                  for n in (1, 2, 3)]
    assert all(int(w["after"][0]) < int(w["upto"][0]) for w in workers)
    assert all(w["rows"] > 0 and w["rows_per_s"] > 0 for w in workers)


def test_watch_and_the_progress_line_tell_how_many(db, project):
    readings.create(db, 900)
    project.script(readings.script(batch=10, throttle=50))
    runner = Terminal(project, "run", "scripts/x.lua", "--workers", "3",
                      "--db", project.url)
    wait_until(lambda: db.has_journal() and db.progress() > 0, "a batch")
    code, shown = at_a_terminal(project, "watch", "1", "--db", project.url)
    assert code == DONE and "3 workers" in shown, shown
    code, shown = runner.read_to_the_end()
    assert code == DONE and "3 workers" in shown, shown


def test_a_run_that_luamig_0_1_stopped_goes_on_with_workers(db, project):
    readings.create(db, 2000)
    source = readings.script(batch=20)
    project.script(source)
    old_journal.install(project, db)
    db.execute("UPDATE readings SET value = value + 10 WHERE id <= 700;"
               "INSERT INTO marks VALUES ('started')")
    old_journal.add_run(db, "scripts/x.lua", source, cursor=["700"],
                        bound=["2000"], rows=700, batches=35)
    project.run("--workers", 3).expect(DONE, "resuming run 1", "2,000 rows")
    assert_once(db)
