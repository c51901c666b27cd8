"""What luamig does with wrong answers of the server.

Each command is run once and listened to. Then it is run again for each of the
answers that its own statements got, and for each way to spoil that answer, from
the same state of the database: rows, columns and values are removed, numbers
garbled and cut. Each time it must end with an error that names the statement,
or as it would have ended without; and no row may be other than it was, or than
the command makes it.

There are some ten thousand ways, of 1,400 kinds: the same done to the same
statement. A kind is of the first case that hears the statement: it takes every
third of its own, and KNOWN of those that earlier ones have heard, each once;
LUAMIG_ANSWERS=all takes all ways.
"""

import concurrent.futures
import itertools
import os
import queue
import random
import subprocess

import pytest

from harness.answers import Spoiler, spoils_of
from harness.cluster import SUPERUSER
from harness.project import (DONE as DONE_EXIT, INTERNAL, SANITIZER_EXIT,
                             Project, binary, clean_environment)

WORKERS = 3
HANGS = 60  # seconds
TOTAL = 540
KNOWN = 8
PAGES = ("SELECT page.", "SELECT watched.")
RANGE = "g.id, g.seq, g.cursor,"
# Its answer is a key of the user's.
HIGHEST = "SELECT coalesce(found.luamig_found, false)"

SCHEMA = """
CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO t SELECT n FROM generate_series(1, 12) n;
CREATE TABLE log (tid int UNIQUE, CHECK (tid <> 7));
"""
SCRIPT = """
return {
  config = { on_error = "quarantine", batch_size = 5, throttle_ms = 0 },
  base_query = "SELECT id, n FROM t",
  migrate = function(rows, repo)
    for _, row in ipairs(rows) do
      repo:insert("log", { tid = row.id })
      repo:update("t", { id = row.id }, { n = row.n + 1 })
    end
  end,
}
"""
RUN = ("run", "scripts/x.lua")
# What has happened before: commands, and SQL.
FRESH, STOPPED, DONE = [], [(*RUN, "--limit", "5")], [RUN]
MENDED = [RUN, "ALTER TABLE log DROP CONSTRAINT log_tid_check"]
ASKED = [*STOPPED, "INSERT INTO luamig.request (run_id, verb, settings)"
         " VALUES (1, 'set', '{\"batch_size\": 3}')"]
# And how many conversations must be spoilt: nine tenths of those that can be.
# What costs little comes first.
CASES = {
    "a check of the database": (DONE, ("check",), 11),
    "a new script": (FRESH, ("new", "{}", "--table", "t"), 13),
    "status as JSON": (DONE, ("status", "--json"), 15),
    "status": (DONE, ("status",), 29),
    "status of a run": (ASKED, ("status", "1"), 17),
    "a pause": (STOPPED, ("pause", "1"), 17),
    "a setting": (STOPPED, ("set", "1", "batch_size=7"), 18),
    "a cancel": (STOPPED, ("cancel", "1"), 12),
    "failures": (DONE, ("failures", "1"), 20),
    "a run that is done": (DONE, RUN, 40),
    "a check": (FRESH, ("check", "scripts/x.lua"), 87),
    "a check after a run": (STOPPED, ("check", "scripts/x.lua"), 9),
    "a dry run": (FRESH, (*RUN, "--dry-run"), 80),
    "a resumed run": (STOPPED, RUN, 90),
    "a resumed run with a request": (ASKED, RUN, 12),
    "a run without rows set aside": (FRESH, (*RUN, "--limit", "6"), 29),
    "a run from the beginning": (DONE, (*RUN, "--again"), 8),
    "failures, tried again": (MENDED, ("failures", "1", "--retry"), 32),
    "the first run": (FRESH, RUN, 8),
}
assert sum(least for _, _, least in CASES.values()) >= TOTAL

# The journal's NULL may be a good answer, of a run that the script is not of.
ANOTHER_RUN = ("error: config.follow_new was true when run 1 began",
               "error: the journal's cursor of run 1 does not fit the key")
ALL = os.environ.get("LUAMIG_ANSWERS") == "all"
heard_of = set()  # the kinds of the cases before

pytestmark = pytest.mark.xdist_group("answers")  # one case after the other


class Stage:
    """A database that can be set back to where a conversation begins."""

    def __init__(self, cluster, folder, before):
        self.db = cluster.make_database()
        self.proxy = Spoiler(cluster)
        self.project = Project(folder, self.db.url)
        self.names = itertools.count()
        self.project.script(SCRIPT)
        self.url = cluster.url(self.db.name, host=self.proxy.host)
        self.db.execute(SCHEMA)
        for step in before:
            if isinstance(step, str):
                self.db.execute(step)
            else:
                self.project.luamig(*step)
        self._keep()
        self.link = self.db.connect(user=SUPERUSER)
        self.link.autocommit = True

    def _keep(self):
        tables = self.db.column(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname IN ('public', 'luamig')")
        back = ["SET session_replication_role = replica"]
        self.db.execute("CREATE SCHEMA kept")
        for i, table in enumerate(tables):
            self.db.execute(f"CREATE TABLE kept.t{i} AS TABLE {table}")
            columns = ", ".join(self.db.column(
                "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid ="
                " %s::regclass AND attnum > 0 AND NOT attisdropped", table))
            back += [f"DELETE FROM {table}",
                     f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE"
                     f" SELECT {columns} FROM kept.t{i}"]
        if not self.db.has_journal():
            back.append("DROP SCHEMA IF EXISTS luamig CASCADE")
        self.back = ";".join(back)

    def talk(self, command, spoil):
        """One conversation: exit code, stdout and stderr."""
        with self.link.cursor() as cursor:
            cursor.execute(self.back)
        self.proxy.begin(spoil)
        name = f"y{next(self.names)}"
        ended = subprocess.run(
            [binary(), *(word.format(name) for word in command),
             "--db", self.url],
            cwd=self.project.path, env=clean_environment(), check=False,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=HANGS)
        return ended.returncode, ended.stdout, ended.stderr

    def tables(self):
        """id: how often it was migrated, and whether it is in the log."""
        with self.link.cursor() as cursor:
            cursor.execute("SELECT t.id, t.n, count(l.tid) FROM t LEFT JOIN"
                           " log l ON l.tid = t.id GROUP BY 1, 2")
            return {row[0]: row[1:] for row in cursor.fetchall()}

    def close(self):
        self.link.close()
        self.proxy.close()
        self.db.drop()


class Case:
    """A command, what it is answered, and what it does."""

    def __init__(self, cluster, folder, name):
        self.cluster, self.folder = cluster, folder
        self.before, self.command, self.least = CASES[name]
        command = self.command
        stage = self.stage("first")
        heard = []
        for _ in range(2):  # what is answered the same each time
            self.code, _, err = stage.talk(command, None)
            assert "Sanitizer" not in err, err
            heard.append({answer[:4]: answer for answer in stage.proxy.answers})
        self.after = stage.tables()
        with stage.link.cursor() as cursor:
            cursor.execute(stage.back)
        self.begun = stage.tables()
        every = [spoil for spoil in spoils_of(
            answer for key, answer in heard[1].items() if key in heard[0])
            if self._is_told(spoil)]
        self.spoils = [spoil for spoil in (every if ALL
                                           else self._share(name, every))
                       if not self._waits(spoil)]
        self.stages = [stage]

    @staticmethod
    def _share(name, every):
        random.Random(name).shuffle(every)
        kinds = {(spoil.sql, spoil.how, spoil.column): spoil for spoil in every}
        new = [spoil for kind, spoil in kinds.items() if kind not in heard_of]
        known = [spoil for kind, spoil in kinds.items() if kind in heard_of]
        heard_of.update(kinds)
        return new[::3] + known[:KNOWN]

    @staticmethod
    def _waits(spoil):
        """Without a range, a worker waits for those that have one."""
        return RANGE in spoil.sql and spoil.how == "no rows, and counted so"

    @staticmethod
    def _is_told(spoil):
        """The rows of a page are the user's: nobody can tell a wrong one, nor
        a key that was another one."""
        if spoil.sql.startswith(HIGHEST):
            return spoil.how != "cut"
        return (not spoil.sql.startswith(PAGES)
                or spoil.how in ("no rows", "not the first row", "no column"))

    def stage(self, name):
        return Stage(self.cluster, self.folder / name, self.before)

    def close(self):
        for stage in self.stages:
            stage.close()

    # -- judging ---------------------------------------------------------------

    def complaint(self, stage, spoil):
        """What is wrong with how a spoilt conversation ended; None: nothing."""
        try:
            code, out, err = stage.talk(self.command, spoil)
        except subprocess.TimeoutExpired:
            return "hangs"
        fault = (self._of_output(code, out, err, spoil)
                 or self._of_tables(code, stage.tables()))
        return fault and f"{fault} (exit {code})\n{out}{err}"

    def _of_output(self, code, out, err, spoil):
        if code in (SANITIZER_EXIT, INTERNAL) or code < 0:
            return "crash"
        if "Sanitizer" in err or "runtime error" in err:
            return "sanitizer"
        if code == self.code:
            return None
        if code == DONE_EXIT:
            return f"succeeds instead of {self.code}"
        if "error: " not in err and "error " not in out:
            return "fails without an error"
        # What is another good answer may lead to another error.
        named = ("statement: " in err or "The statement is" in out
                 or any(words in err for words in ANOTHER_RUN))
        if named or spoil.how in ("no rows, and counted so", "cut", "empty"):
            return None
        return "names no statement"

    def _of_tables(self, code, found):
        if code == self.code:
            return None if found == self.after else f"wrong rows: {found}"
        strange = {key: value for key, value in found.items()
                   if value not in (self.begun[key], self.after[key])}
        return f"wrong rows: {strange}" if strange else None

    def complaints(self):
        """All of them, and how many conversations were spoilt."""
        free, spoilt, wrong = queue.Queue(), itertools.count(), []
        self.stages += [self.stage(f"more{i}") for i in range(WORKERS - 1)]
        for stage in self.stages:
            free.put(stage)

        def one(spoil):
            stage = free.get()
            try:
                fault = self.complaint(stage, spoil)
                if stage.proxy.happened:
                    next(spoilt)
                if fault:
                    wrong.append(f"{spoil.how} of column {spoil.column} in"
                                 f" answer {spoil.nth} to {spoil.sql}\n{fault}")
            finally:
                free.put(stage)
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(one, self.spoils))
        return wrong, next(spoilt)


@pytest.fixture
def case_of(cluster, tmp_path):
    made = []

    def case(name):
        made.append(Case(cluster, tmp_path / str(len(made)), name))
        return made[-1]
    yield case
    for one in made:
        one.close()


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_a_spoilt_answer_is_an_error_or_does_not_matter(case_of, name):
    case = case_of(name)
    wrong, spoilt = case.complaints()
    assert not wrong, f"{len(wrong)} of {spoilt}:\n" + "\n".join(wrong[:20])
    assert spoilt >= case.least
