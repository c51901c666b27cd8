"""Throw-away PostgreSQL servers: a Unix socket, no durability, one directory.

The first cluster of a version runs initdb; later ones copy its result, those of
other workers of pytest as well (share_templates). As root the server runs as the user postgres, because it refuses to run as root.
"""

import atexit
import contextlib
import ctypes
import fcntl
import itertools
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile

import psycopg2

from harness import postgres
from harness.wait import wait_until

PORT = 5432
SUPERUSER = "postgres"
OWNER = "app"  # the ordinary role that owns the databases of the tests
GUARDED = "guarded"  # a role that must give its password
PASSWORD = "right-s3cret"

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "wal_buffers": "16MB",
    "max_wal_size": "1GB",
    "fsync": "off",
    "autovacuum": "off",
    "jit": "off",
    "log_line_prefix": "%d|%a|%p|",
    "log_min_messages": "warning",
}

HBA = f"""\
local all {GUARDED} scram-sha-256
local all all trust
local replication {SUPERUSER} trust
"""

# Tables and sequences that are not the server's own, and their columns.
RELATIONS = """\
SELECT c.oid::regclass::text, array_agg(a.attname || ' ' || a.atttypid
         || ' ' || a.attnotnull ORDER BY a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S', 'v', 'm')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
GROUP BY c.oid ORDER BY 1"""

TEMPLATES = "LUAMIG_TEST_TEMPLATES"  # the folder that workers share
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)


def _home():
    """Where servers lie: in memory, where there is plenty."""
    memory = "/dev/shm"
    plenty = os.path.isdir(memory) and shutil.disk_usage(memory).free > 8 << 30
    return memory if plenty else "/tmp"


def template_folder():
    """A new folder, which is removed in the end."""
    top = tempfile.mkdtemp(prefix="luamig-initdb-", dir=_home())
    os.chmod(top, 0o755)
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    return top


def share_templates():
    """Processes that are started from now on make servers of the same files."""
    os.environ[TEMPLATES] = template_folder()


def _server_user():
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def _die_with_the_tests():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def is_up(link):
    """An idle session has nothing to say: what is readable is its end."""
    if link.closed or select.select([link], [], [], 0)[0]:
        link.close()
        return False
    return True


# The progress of each run: what its ranges have done is part of it.
PROGRESS = """
SELECT p.run_id, p.key_columns, p.bound, p.owner, p.seq, p.host, p.pid,
    p.started, p.total, p.batch_size, p.waits_for, p.waits_since, p.held,
    p.rows + coalesce(t.rows, 0) AS rows,
    p.batches + coalesce(t.batches, 0) AS batches,
    p.retries + coalesce(t.retries, 0) AS retries,
    p.failures + coalesce(t.failures, 0) AS failures,
    coalesce((SELECT g.cursor FROM luamig.range g WHERE g.run_id = p.run_id
        AND NOT g.closed ORDER BY g.place LIMIT 1), p.cursor) AS cursor,
    w.lease_until, w.backend_pid, w.backend_start
FROM luamig.progress p
LEFT JOIN luamig.worker w ON w.id = p.leader
CROSS JOIN LATERAL (SELECT sum(g.rows) AS rows, sum(g.batches) AS batches,
    sum(g.retries) AS retries, sum(g.failures) AS failures
    FROM luamig.range g WHERE g.run_id = p.run_id) t
"""


class Cluster:
    """One server. start, stop and restart belong to the main thread: the
    server ends with the thread that started it."""

    _templates = {}  # by the folder of the programs

    def __init__(self, primary=None, version=None, under=(), **settings):
        """Of a major version, or of the one that tests use; under: a command
        that runs the server's."""
        self.bin = primary.bin if primary else postgres.bin_dir(version)
        self.under = under
        self.settings = {**SETTINGS, **settings}
        self.port = int(self.settings.get("port", PORT))
        self.dir = tempfile.mkdtemp(prefix="luamig-pg-", dir=_home())
        self.data = os.path.join(self.dir, "data")
        self.log_path = os.path.join(self.dir, "log")
        self.process = None
        self._link = None  # a session of the superuser, outside the databases
        self._wal_writer = None
        os.chmod(self.dir, 0o755)
        if os.geteuid() == 0:
            shutil.chown(self.dir, "postgres", "postgres")
        if primary:
            self._copy_of(primary)
        else:
            subprocess.run(["cp", "-a", self._initdb(self.bin), self.data],
                           check=True)

    @property
    def version(self):
        """The major version."""
        return postgres.major(self.bin)

    # -- life cycle ----------------------------------------------------

    def start(self):
        command = [*self.under, os.path.join(self.bin, "postgres")]
        command += ["-D", self.data]
        command += ["-k", self.dir, "-p", str(self.port)]
        for name, value in self.settings.items():
            command += ["-c", f"{name}={value}"]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd="/",
                start_new_session=True, preexec_fn=_die_with_the_tests,
                **_server_user())
        wait_until(self._answers, "the server to start", pause=0.02)
        return self

    def stop(self, how=signal.SIGINT):
        """SIGINT is a fast shutdown, SIGQUIT an immediate one (a crash)."""
        if self._link:
            self._link.close()
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(60)

    def crash(self):
        """What pg_ctl -m immediate does: memory is lost, files stay."""
        self.stop(signal.SIGQUIT)

    def keep_wal_in_memory(self):
        """What nobody waits for is written by no other process, until
        crash_without_wal, which loses it."""
        self._wal_writer, = self.query(
            "SELECT pid FROM pg_stat_activity"
            " WHERE backend_type = 'walwriter'")[0]
        os.kill(self._wal_writer, signal.SIGSTOP)

    def crash_without_wal(self):
        """The signal to end comes before the one to continue."""
        os.kill(self._wal_writer, signal.SIGQUIT)
        self.process.send_signal(signal.SIGQUIT)
        os.kill(self._wal_writer, signal.SIGCONT)
        self.crash()

    def freeze(self):
        """SIGSTOP to every process of the server: it says nothing more, and
        its sockets stay."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self):
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number):
        """The parent first, so that no child is born meanwhile."""
        pid = self.process.pid
        os.kill(pid, number)
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            for child in children.read().split():
                with contextlib.suppress(ProcessLookupError):  # it has ended
                    os.kill(int(child), number)

    def remove(self):
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError("the server ended: " + self.log()[-2000:])
        try:
            self.connect("postgres").close()
        except psycopg2.OperationalError:
            return False
        return True

    # -- use -----------------------------------------------------------

    def url(self, dbname, user=OWNER, host=None, **more):
        """A conninfo string for dbname."""
        parts = {"host": host or self.dir, "port": self.port, "user": user,
                 "dbname": dbname, **more}
        return " ".join(f"{key}={value}" for key, value in parts.items())

    def connect(self, dbname, user=SUPERUSER, **more):
        """An autocommit psycopg2 connection."""
        link = psycopg2.connect(self.url(dbname, user=user, **more))
        link.autocommit = True
        return link

    def socket_path(self):
        return os.path.join(self.dir, f".s.PGSQL.{self.port}")

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def make_database(self, name=None, owner=OWNER, template="template0"):
        name = name or f"db{next(_numbers)}"
        how = "STRATEGY file_copy" if self.version >= 15 else ""  # the fastest
        self.execute(f'CREATE DATABASE "{name}" OWNER "{owner}" '
                     f'TEMPLATE "{template}" {how}')
        return Database(self, name)

    def database(self, name):
        """One that is there."""
        return Database(self, name)

    def execute(self, sql):
        """One statement as the superuser, outside any test's database."""
        with self._session().cursor() as cursor:
            cursor.execute(sql)

    def query(self, sql, *parameters, dbname=None):
        """The rows of one query, in the same way."""
        link = self.connect(dbname) if dbname else self._session()
        try:
            with link.cursor() as cursor:
                cursor.execute(sql, parameters or None)
                return cursor.fetchall()
        finally:
            if dbname:
                link.close()

    def _session(self):
        if not self._link or not is_up(self._link):
            self._link = self.connect("postgres")
        return self._link

    # -- standbys --------------------------------------------------------

    def standby(self, **settings):
        """A streaming standby of this server, which is running; it remains to
        be started."""
        return Cluster(primary=self, **{**self.settings, **settings})

    def promote(self):
        """Makes a standby a primary; waits until it is one."""
        self.execute("SELECT pg_promote()")

    def wait_caught_up(self, standby):
        """Waits until the standby has replayed all that is written here."""
        (written,), = self.query("SELECT pg_current_wal_lsn()")
        wait_until(lambda: standby.query(
            "SELECT pg_last_wal_replay_lsn() >= %s", written)[0][0],
            "the standby to catch up")

    def set_standbys(self, names):
        """Those that COMMIT waits for; "gone": one that is away."""
        self.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.execute("SELECT pg_reload_conf()")
        wait_until(lambda: self.query(
            "SHOW synchronous_standby_names")[0][0] == names, "the reload")

    def _copy_of(self, primary):
        """What pg_basebackup does, which not every version comes with."""
        link = primary.connect("postgres")
        try:
            ask = link.cursor()
            old = self.version < 15
            ask.execute("SELECT pg_start_backup('tests', true, false)" if old
                        else "SELECT pg_backup_start('tests', true)")
            subprocess.run(["cp", "-a", primary.data, self.data], check=True)
            ask.execute("SELECT labelfile FROM pg_stop_backup(false, false)"
                        if old else
                        "SELECT labelfile FROM pg_backup_stop(false)")
            (label,), = ask.fetchall()
        finally:
            link.close()
        os.remove(os.path.join(self.data, "postmaster.pid"))
        self._write("backup_label", label)
        self._write("standby.signal", "")
        self._write("postgresql.auto.conf", "primary_conninfo = 'host="
                    f"{primary.dir} port={primary.port} user={SUPERUSER}'\n")

    def _write(self, name, text):
        path = os.path.join(self.data, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        if os.geteuid() == 0:
            shutil.chown(path, "postgres", "postgres")

    # -- the files of a fresh server -------------------------------------

    @classmethod
    def fresh(cls, **settings):
        """A server with a system identifier of its own."""
        folder = postgres.bin_dir()
        before = cls._templates.get(folder)
        cls._templates[folder] = cls._make_template(folder, template_folder())
        try:
            return cls(**settings)
        finally:
            cls._templates[folder] = before

    @classmethod
    def _initdb(cls, folder):
        if not cls._templates.get(folder):
            top = os.environ.get(TEMPLATES) or template_folder()
            cls._templates[folder] = cls._template_in(top, folder)
        return cls._templates[folder]

    @classmethod
    def _template_in(cls, top, folder):
        """What initdb of the programs in folder makes, made by whoever comes
        first."""
        place = os.path.join(top, folder.replace("/", "_"))
        with open(place + ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.isdir(place):
                os.mkdir(place + ".new")
                cls._make_template(folder, place + ".new")
                os.rename(place + ".new", place)
        return os.path.join(place, "data")

    @classmethod
    def _make_template(cls, folder, top):
        data = os.path.join(top, "data")
        quiet = ["--no-instructions"] if postgres.major(folder) > 13 else []
        if os.geteuid() == 0:
            shutil.chown(top, "postgres", "postgres")
        subprocess.run(
            [os.path.join(folder, "initdb"), "-D", data, "-U", SUPERUSER,
             "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync",
             *quiet],
            check=True, stdout=subprocess.DEVNULL, cwd="/", **_server_user())
        with open(os.path.join(data, "pg_hba.conf"), "w") as hba:
            hba.write(HBA)
        cls._make_roles(folder, data)
        return data

    @classmethod
    def _make_roles(cls, folder, data):
        sql = (f"CREATE ROLE {OWNER} LOGIN\n"
               f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'\n")
        subprocess.run(
            [os.path.join(folder, "postgres"), "--single", "-D", data,
             "-c", "fsync=off", "-c", "password_encryption=scram-sha-256",
             "postgres"],
            input=sql.encode(), check=True, cwd="/",
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            **_server_user())


class Database:
    """One database of a cluster, and short ways to look into it."""

    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name
        self.url = cluster.url(name)
        self._links = {}

    def connect(self, user=OWNER, **more):
        return self.cluster.connect(self.name, user=user, **more)

    def _run(self, sql, parameters, user):
        link = self._links.get(user)
        if link is None or not is_up(link):
            link = self._links[user] = self.connect(user=user)
        with link.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else None

    def execute(self, sql, *parameters, user=OWNER):
        self._run(sql, parameters, user)

    def rows(self, sql, *parameters, user=OWNER):
        return self._run(sql, parameters, user)

    def column(self, sql, *parameters, user=OWNER):
        return [row[0] for row in self.rows(sql, *parameters, user=user)]

    def scalar(self, sql, *parameters, user=OWNER):
        rows = self.rows(sql, *parameters, user=user)
        return rows[0][0] if rows else None

    def admin(self, sql, *parameters):
        self.execute(sql, *parameters, user=SUPERUSER)

    def set(self, name, value):
        """A setting of every session of this database from now on."""
        self.admin(f"ALTER DATABASE \"{self.name}\" SET {name} = '{value}'")

    def runners(self):
        """Backend pids of the sessions here in which luamig migrates."""
        return self.column(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s "
            "AND application_name LIKE 'luamig:%%' "
            "AND backend_type = 'client backend'", self.name, user=SUPERUSER)

    def end_session(self, pid):
        """Ends a session of this database; waits until it is gone."""
        self.admin("SELECT pg_terminate_backend(%s)", pid)
        wait_until(lambda: not self.scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid,
            user=SUPERUSER), f"session {pid} to end")

    def dump(self, *options):
        """What pg_dump says of it, but for the line that differs each time."""
        program = postgres.program("pg_dump")
        if postgres.major(os.path.dirname(program)) < self.cluster.version:
            raise postgres.Unavailable("pg_dump is older than the server")
        done = subprocess.run(
            [program, *options, self.cluster.url(self.name, user=SUPERUSER)],
            capture_output=True, text=True, check=True)
        return re.sub(r"\\(un)?restrict .*", "", done.stdout)

    def contents(self):
        """All that it holds, sequences as well: a dump, or where pg_dump is
        too old for the server, the rows of each relation."""
        try:
            return self.dump()
        except postgres.Unavailable:
            return {name: (columns, self.rows(
                f"SELECT ROW(t.*)::text FROM {name} t ORDER BY 1", user=SUPERUSER))
                for name, columns in self.rows(RELATIONS, user=SUPERUSER)}

    def has_journal(self):
        return self.scalar("SELECT to_regclass('luamig.progress') IS NOT NULL",
                           user=SUPERUSER)

    def progress(self, column="rows"):
        """A counter of the latest run, 0 before there is one. Counters and
        cursor with those of its ranges; lease and session of its leader."""
        if not self.has_journal():
            return 0
        return self.scalar(f"SELECT {column} FROM ({PROGRESS}) p "
                           "ORDER BY run_id DESC LIMIT 1",
                           user=SUPERUSER) or 0

    def state(self):
        """State of the latest run."""
        return self.scalar("SELECT state FROM luamig.run "
                           "ORDER BY id DESC LIMIT 1", user=SUPERUSER)

    def close(self):
        """Ends the sessions in which it looked."""
        for link in self._links.values():
            link.close()

    def drop(self):
        self.close()
        self.cluster.execute(f'DROP DATABASE "{self.name}" WITH (FORCE)')
