"""One run, several workers: in one process, and in several."""

import signal
import subprocess

import pytest

from harness import readings
from harness.oracle import assert_once
from harness.project import BUSY, CANCELLED, DONE, FAILED, INVALID, STOPPED
from harness.proxy import TO_CLIENT, TO_SERVER
from harness.wait import wait_until

LEASE = {"LUAMIG_LEASE_MS": "1000", "LUAMIG_FAULT_GRACE_MS": "1200"}


# Writes who has written, too.
WHO = """
    for _, row in ipairs(rows) do
      repo:update("readings", { id = row.id },
        { value = row.value + 10, who = os.getenv("WHO") })
    end"""


def workers(db):
    return db.rows("SELECT process, number, pid FROM luamig.worker",
                   user="postgres")


def wait_for_workers(db, count):
    wait_until(lambda: db.has_journal() and len(workers(db)) >= count,
               f"{count} workers")


def test_four_workers_write_each_row_once(db, project):
    readings.create(db, 8000)
    project.script(readings.script(batch=10, config="workers = 4"))
    result = project.run().expect(DONE)
    assert "interrupted" not in result.err  # a cut is no lost connection
    assert_once(db)


def test_two_processes_share_a_run(db, project):
    readings.create(db, 30000)
    project.script(readings.script(batch=50, throttle=5))
    first = project.start_run("--workers", 3)
    wait_for_workers(db, 3)
    second = project.start_run("--workers", 2, "--join")
    wait_for_workers(db, 5)
    first.wait().expect(DONE)
    second.wait().expect(DONE, "joining run 1")
    assert_once(db)


def test_the_leader_is_killed_and_a_helper_ends_the_run(db, project):
    readings.create(db, 30000)
    project.script(readings.script(batch=50, throttle=5))
    first = project.start_run("--workers", 3, env=LEASE)
    wait_for_workers(db, 3)
    second = project.start_run("--workers", 2, "--join", env=LEASE)
    wait_for_workers(db, 5)
    first.kill()
    second.wait().expect(DONE, "this process leads it now")
    assert_once(db)


def test_the_leader_stops_and_a_helper_ends_the_run(db, project):
    readings.create(db, 30000)
    project.script(readings.script(batch=50, throttle=5))
    first = project.start_run("--workers", 3)
    wait_for_workers(db, 3)
    second = project.start_run("--workers", 2, "--join")
    wait_for_workers(db, 5)
    first.signal(signal.SIGTERM)
    first.wait().expect(STOPPED)
    second.wait().expect(DONE, "this process leads it now")
    assert_once(db)


def test_a_process_that_nobody_saw_stops_with_the_run(db, project):
    """It was frozen when the last process that was seen stopped."""
    readings.create(db, 30000)
    project.script(readings.script(batch=50, throttle=20))
    first = project.start_run("--workers", 2, env=LEASE)
    wait_for_workers(db, 2)
    second = project.start_run("--join", env=LEASE)
    wait_until(lambda: held_by(db, second) > 0, "keys for the second")
    second.freeze()
    wait_until(lambda: db.scalar(
        "SELECT max(greatest(kept_until, lease_until)) + interval '1.2 s'"
        " < clock_timestamp() FROM luamig.worker WHERE pid = %s", second.pid,
        user="postgres"), "its lease to end, and that of its transaction")
    first.signal(signal.SIGTERM)
    first.wait().expect(STOPPED, "the same command resumes it")
    second.thaw()
    second.wait().expect(STOPPED, "another process has stopped it",
                         "the same command resumes it")
    assert db.state() == "stopped"
    project.run("--throttle-ms", 0, "--workers", 2).expect(DONE)
    assert_once(db)


def test_pause_is_answered_when_both_have_stopped(db, project):
    readings.create(db, 30000)
    project.script(readings.script(batch=50, throttle=20))
    first = project.start_run("--workers", 2)
    wait_for_workers(db, 2)
    second = project.start_run("--workers", 2, "--join")
    wait_for_workers(db, 4)
    project.luamig("pause", 1).expect(DONE, "is paused")
    rows = db.progress()
    assert db.scalar("SELECT count(*) FROM luamig.range r JOIN luamig.worker w"
                     " ON w.id = r.worker WHERE w.pid = %s", second.pid,
                     user="postgres") == 0
    assert db.progress() == rows
    for pid in db.runners():
        db.admin("SELECT pg_terminate_backend(%s)", pid)
    project.luamig("set", 1, "throttle_ms=0").expect(DONE)
    project.luamig("resume", 1).expect(DONE)
    first.wait().expect(DONE, "reconnected").refuse("the server lost")
    second.wait().expect(DONE, "reconnected").refuse("the server lost")
    assert_once(db)


def test_cancel_ends_both(db, project):
    readings.create(db, 30000)
    project.script(readings.script(batch=50, throttle=20))
    first = project.start_run("--workers", 2)
    wait_for_workers(db, 2)
    second = project.start_run("--workers", 2, "--join")
    wait_for_workers(db, 4)
    project.luamig("cancel", 1).expect(DONE, "is cancelled")
    first.wait().expect(8)
    second.wait().expect(8)
    assert db.scalar("SELECT count(*) FROM readings WHERE writes > 1") == 0


def test_a_script_that_fails_in_a_helper_fails_the_run(db, project):
    readings.create(db, 3000)
    project.script(readings.script(
        batch=50, throttle=20,
        migrate='if os.getenv("BAD") then error("bad") end' + readings.ROW_BY_ROW))
    first = project.start_run("--workers", 2)
    wait_for_workers(db, 2)
    second = project.start_run("--workers", 2, "--join", env={"BAD": "1"})
    second.wait().expect(FAILED, "bad")
    first.wait().expect(FAILED, "has failed in another process")
    assert db.state() == "failed"
    project.run("--throttle-ms", 0).expect(DONE)
    assert_once(db)


def test_limit_is_exact_with_workers(db, project):
    readings.create(db, 5000)
    project.script(readings.script(batch=30, config="workers = 4"))
    project.run("--limit", 1001).expect(STOPPED, "1,001 rows")
    assert db.scalar("SELECT count(*) FROM readings WHERE writes = 1") == 1001
    project.run().expect(DONE)
    assert_once(db)


def test_a_second_run_without_join_is_refused(db, project):
    readings.create(db, 5000)
    project.script(readings.script(batch=30, throttle=50))
    first = project.start_run("--workers", 2)
    wait_for_workers(db, 2)
    project.run().expect(BUSY, "already running")
    first.signal(signal.SIGTERM)
    first.wait().expect(STOPPED)


def test_a_join_with_another_text_is_refused(db, project):
    readings.create(db, 5000)
    project.script(readings.script(batch=30, throttle=50))
    first = project.start_run("--workers", 2)
    wait_for_workers(db, 2)
    project.script(readings.script(batch=31, throttle=50))
    project.run("--join").expect(INVALID, "another text")
    first.signal(signal.SIGTERM)
    first.wait().expect(STOPPED)


def test_a_join_that_would_read_another_table_is_refused(db, project):
    readings.create(db, 5000)
    project.script(readings.script(batch=30, throttle=50))
    first = project.start_run("--workers", 2)
    wait_for_workers(db, 2)
    db.execute("CREATE SCHEMA other; CREATE TABLE other.readings"
               " (LIKE readings INCLUDING ALL)")
    db.admin(f'ALTER DATABASE "{db.name}" SET search_path = other, public')
    project.run("--join").expect(INVALID, "other.readings")
    assert first.alive
    first.signal(signal.SIGTERM)
    first.wait().expect(STOPPED)


@pytest.mark.parametrize("to", [1, 6])
def test_set_changes_the_number_of_workers(db, project, to):
    readings.create(db, 20000)
    project.script(readings.script(batch=50, throttle=20))
    first = project.start_run("--workers", 3)
    wait_for_workers(db, 3)
    project.luamig("set", 1, f"workers={to}").expect(DONE)
    wait_until(lambda: db.scalar(
        "SELECT count(DISTINCT worker) FROM luamig.range WHERE owner IS NOT NULL",
        user="postgres") == to, "that many at work")
    project.luamig("set", 1, "throttle_ms=0").expect(DONE)
    first.wait().expect(DONE)
    assert_once(db)


# -- hosts -----------------------------------------------------------------


def has_uts():
    return subprocess.run(["unshare", "-u", "true"], capture_output=True,
                          check=False).returncode == 0


def held_by(db, runner):
    """How many ranges the process holds."""
    return db.scalar("SELECT count(*) FROM luamig.range g JOIN luamig.worker w"
                     " ON w.id = g.worker WHERE w.pid = %s", runner.pid,
                     user="postgres")


@pytest.mark.skipif(not has_uts(), reason="no right to make a UTS namespace")
def test_a_host_that_is_frozen_loses_its_keys_and_comes_back(
        db, project, proxy):
    """A pause from a third host is answered without it; what it commits late
    rolls back."""
    readings.create(db, 20000)
    project.script(readings.script(batch=50, throttle=10,
                                   config="health = false"))
    url = db.cluster.url(db.name, host=proxy.host)
    first = project.start_run("--workers", 2, env=LEASE, host="alpha")
    wait_for_workers(db, 2)
    second = project.start_run("--workers", 2, "--join", env=LEASE, url=url,
                               host="beta")
    wait_for_workers(db, 4)
    wait_until(lambda: held_by(db, second) == 2, "keys for the second")
    hosts = {row["host"]: row for row in project.status(1)[0]["workers"]}
    assert set(hosts) == {"alpha", "beta"}
    assert "of process" in project.luamig("status", 1).expect(DONE).out

    second.freeze()
    project.luamig("pause", 1, host="gamma").expect(DONE, "is paused")
    assert held_by(db, second) == 0
    rows = db.progress()
    second.thaw()
    project.luamig("resume", 1, host="gamma").expect(DONE)
    assert db.progress() >= rows
    first.wait().expect(DONE)
    second.wait().expect(DONE)
    assert_once(db)


# -- what breaks a naive design ---------------------------------------------


@pytest.mark.parametrize("point", [
    "after_page", "after_migrate", "before_commit", "after_commit_sent",
    "range_before_commit", "range_after_commit_sent", "before_cut",
    "cut_before_commit", "cut_after_commit_sent", "done_before_commit",
    "done_after_commit_sent", "on_start_after_commit_sent"])
@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_fault_with_two_workers(db, project, point, how):
    """The process is killed, or frozen until another one has ended the run."""
    readings.create(db, 6000)
    project.script(readings.script(batch=20))
    first = project.start_run("--workers", 2, env=LEASE,
                              fault=f"{point}:1={how}")
    if how == "kill":
        first.process.wait(60)
    else:
        first.wait_frozen()
    code = None
    while code != DONE:
        result = project.run("--workers", 2, env=LEASE)
        code = result.code
        assert code in (DONE, BUSY), result
    first.thaw()
    first.process.wait(60)
    assert_once(db)


@pytest.mark.parametrize("point", ["range_before_commit:4",
                                   "done_before_commit:1"])
def test_a_frozen_process_that_locks_the_journal_holds_up_nobody(
        db, project, point):
    """The server ends its session."""
    readings.create(db, 4000)
    project.script(readings.script(batch=50, throttle=20))
    first = project.start_run("--workers", 2, fault=f"{point}=stop",
                              env=LEASE)
    wait_for_workers(db, 1)
    second = project.start_run("--workers", 2, "--join", env=LEASE)
    first.wait_frozen()
    second.wait().expect(DONE, "this process leads it now")
    first.thaw()
    assert first.wait().code in (DONE, BUSY)
    assert_once(db)


def test_a_batch_in_flight_does_not_commit_after_a_restart(db, project):
    readings.create(db, 4000)
    project.script(readings.script(batch=20))
    runner = project.start_run("--workers", 3, env=LEASE,
                               fault="before_commit:9=stop")
    runner.wait_frozen()
    wait_until(lambda: db.scalar(
        "SELECT max(lease_until) < clock_timestamp() FROM luamig.worker",
        user="postgres"), "the lease to end")
    code = BUSY
    while code == BUSY:
        result = project.run("--restart", "--limit", 20, env=LEASE)
        code = result.code
    result.expect(STOPPED)
    rows = db.scalar("SELECT sum(writes) FROM readings")
    runner.thaw()
    assert runner.wait(60).code in (BUSY, CANCELLED)
    assert db.scalar("SELECT sum(writes) FROM readings") == rows


@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_a_hand_out_whose_commit_is_lost_gives_no_keys_twice(
        db, project, proxy, direction):
    readings.create(db, 6000)
    project.script(readings.script(batch=20, config="health = false"))
    lost = []

    def lose(way, data, _):
        if way == TO_SERVER and b"next_range" in data and len(lost) < 3:
            lost.append("sent")
        if lost and lost[-1] == "sent" and way == direction:
            if way == TO_CLIENT or b"COMMIT" in data:
                lost.append("lost")
                return 0
        return None

    proxy.rule = lose
    project.run("--workers", 2, env=LEASE,
                url=db.cluster.url(db.name, host=proxy.host)).expect(DONE)
    proxy.release()
    assert "lost" in lost
    assert_once(db)


def test_a_limit_holds_where_a_commit_is_lost_and_the_keys_are_taken_over(
        db, project, proxy):
    """The batch counts, though its range is another worker's by now."""
    readings.create(db, 2000)
    db.execute("ALTER TABLE readings ADD who text")
    project.script(readings.script(batch=20, migrate=WHO,
                                   config="health = false"))
    second = project.start_run("--throttle-ms", 20,
                               env={**LEASE, "WHO": "second"})
    wait_for_workers(db, 1)

    def lose_a_batch(way, data, _):
        """Its answers are those of the checkpoint and of the COMMIT."""
        if way == TO_CLIENT and b"SELECT 1\0" in data and b"COMMIT\0" in data:
            seen.append(data)
        if len(seen) < 5:
            return None
        proxy.refuse()
        return 0

    seen = []
    proxy.rule = lose_a_batch
    first = project.start_run(
        "--workers", 2, "--join", "--limit", 300, env={**LEASE, "WHO": "first"},
        url=db.cluster.url(db.name, host=proxy.host))
    wait_until(lambda: len(seen) >= 5 and held_by(db, first) == 0,
               "the second to take its keys over")
    second.freeze()  # and leaves rows to the first
    proxy.rule = None
    proxy.accept()
    first.wait().expect(STOPPED, "300 rows")
    assert db.scalar("SELECT count(*) FROM readings WHERE who = 'first'") == 300
    second.thaw()
    if second.wait().code != DONE:  # nobody saw it when the first had stopped
        project.run().expect(DONE)
    assert_once(db)


def test_on_complete_sees_that_every_row_is_done(db, project):
    """Whoever ends the run, and however late the others end their ranges."""
    readings.create(db, 4000)
    project.script(readings.script(batch=50, throttle=1).replace(
        'on_complete = mark "completed"', """on_complete = function(repo)
        assert(repo:scalar("SELECT count(*) FROM readings WHERE writes = 0") == 0)
        repo:insert("marks", { mark = "completed" })
        end"""))
    first = project.start_run("--workers", 2)
    wait_for_workers(db, 2)
    second = project.start_run("--workers", 3, "--join")
    first.wait().expect(DONE)
    second.wait().expect(DONE)
    assert_once(db)


def test_workers_end_their_own_sessions_that_the_server_still_keeps(
        db, project, proxy):
    """The network lost them in the middle of a batch: its range is locked."""
    readings.create(db, 3000)
    project.script(readings.script(batch=20, config="health = false"))
    runner = project.start_run("--workers", 4, fault="after_flush:9=stop",
                               url=db.cluster.url(db.name, host=proxy.host))
    runner.wait_frozen()
    proxy.cut(keep_server=True)
    runner.thaw()
    runner.wait(30).expect(DONE, "reconnected")
    proxy.release()
    assert_once(db)


def test_all_sessions_that_a_restart_ends_keep_their_keys(db, project):
    """The first that is back takes nothing from those that are not."""
    readings.create(db, 20000)
    project.script(readings.script(batch=50, throttle=10))
    first = project.start_run("--workers", 3)
    wait_for_workers(db, 3)
    second = project.start_run("--workers", 2, "--join")
    wait_for_workers(db, 5)
    for pid in db.runners():
        db.admin("SELECT pg_terminate_backend(%s)", pid)
    first.wait().expect(DONE).refuse("is gone")
    second.wait().expect(DONE).refuse("is gone")
    assert_once(db)


def test_keys_at_which_ranges_end_may_vanish(db, project):
    readings.create(db, 6000)
    project.script(readings.script(batch=50, throttle=20))
    runner = project.start_run("--workers", 4)
    wait_for_workers(db, 4)
    wait_until(lambda: db.scalar("SELECT count(*) FROM luamig.range",
                                 user="postgres") > 4, "ranges")
    db.execute("DELETE FROM readings WHERE id IN (SELECT upper[1]::bigint"
               " FROM luamig.range) AND writes = 0")
    runner.wait().expect(DONE)
    readings.assert_each_once(db)


def test_rows_below_the_bound_that_are_inserted_in_time_are_migrated(db, project):
    """Also those between the last key that was seen and the bound."""
    readings.create(db, 6000)
    db.execute("DELETE FROM readings WHERE id BETWEEN 5000 AND 5999")
    project.script(readings.script(batch=50, throttle=20))
    runner = project.start_run("--workers", 2)
    wait_for_workers(db, 2)
    db.execute("INSERT INTO readings (id, value) VALUES (5999, 5999)")
    runner.wait().expect(DONE)
    readings.assert_each_once(db)


def follow_the_hint(db, project):
    """Its words: find out by the data which rows are migrated, leave them out
    in the base query, and run the script with --restart."""
    project.script(readings.script(batch=50).replace(
        "FROM readings", "FROM readings WHERE writes = 0"))
    project.run("--restart", "--workers", 3).expect(DONE)
    readings.assert_each_once(db, callbacks=False)


def test_a_range_that_somebody_deletes_is_missed(db, project):
    readings.create(db, 6000)
    project.script(readings.script(batch=50, throttle=20))
    project.run("--workers", 2, "--limit", 500).expect(STOPPED)
    db.admin("DELETE FROM luamig.range WHERE id = (SELECT max(id)"
             " FROM luamig.range)")
    project.run("--throttle-ms", 0).expect(FAILED, '"luamig".range are not '
                                           "complete", "--restart")
    follow_the_hint(db, project)


def test_sessions_that_end_while_workers_begin_end_no_run(db, project):
    readings.create(db, 20000)
    project.script(readings.script(batch=50, throttle=10))
    runner = project.start_run("--workers", 6)
    wait_for_workers(db, 1)
    for _ in range(8):
        for pid in db.runners():
            db.admin("SELECT pg_terminate_backend(%s)", pid)
    runner.wait().expect(DONE)
    assert_once(db)


def test_lost_progress_of_several_workers_has_no_key_to_go_on_from(db, project):
    readings.create(db, 6000)
    project.script(readings.script(batch=50, throttle=20))
    runner = project.start_run("--workers", 3)
    wait_until(lambda: db.progress() > 500, "rows")
    db.admin("DELETE FROM luamig.progress")
    runner.wait().expect(FAILED, 'in "luamig".progress is gone',
                         "Several workers had the run").refuse("start_after =")
    follow_the_hint(db, project)


def test_serializable_batches_of_different_ranges_do_not_conflict(db, project):
    """Whatever the server knows of luamig's small tables."""
    db.execute("""CREATE TABLE source (id int PRIMARY KEY);
        CREATE TABLE target (id int);
        INSERT INTO source SELECT generate_series(1, 3000); ANALYZE source""")
    project.script("""return {
      config = { batch_size = 20, isolation = "serializable", workers = 4 },
      base_query = "SELECT id FROM source",
      migrate = function(rows, repo)
        for _, row in ipairs(rows) do repo:insert("target", row) end
      end }""")
    project.run("--limit", 100).expect(STOPPED)
    db.admin("ANALYZE luamig.range, luamig.progress, luamig.run, luamig.worker")
    project.run("-v").expect(DONE).refuse("read/write dependencies")
    assert db.rows("SELECT id FROM source EXCEPT ALL SELECT id FROM target") == []
    assert db.scalar("SELECT count(*) FROM target") == 3000
