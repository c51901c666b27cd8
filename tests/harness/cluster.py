"""Throw-away PostgreSQL servers: a Unix socket, no durability, one directory.

The first cluster of a process runs initdb; later ones copy its result. As root
the server runs as the user postgres, because it refuses to run as root.
"""

import atexit
import contextlib
import ctypes
import glob
import itertools
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile

import psycopg2

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
    "max_wal_size": "4GB",
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

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)


def bin_dir():
    """The newest installed PostgreSQL, or the one that PG_BIN names."""
    if os.environ.get("PG_BIN"):
        return os.environ["PG_BIN"]
    found = glob.glob("/usr/lib/postgresql/*/bin/postgres")
    if not found:
        raise AssertionError("no PostgreSQL in /usr/lib/postgresql/*/bin")
    version = re.compile(r"/(\d+)/bin/")
    newest = max(found, key=lambda path: int(version.search(path).group(1)))
    return os.path.dirname(newest)


def _server_user():
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def _die_with_the_tests():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


class Cluster:
    """One server. start, stop and restart belong to the main thread: the
    server ends with the thread that started it."""

    _template = None

    def __init__(self, primary=None, **settings):
        self.settings = {**SETTINGS, **settings}
        self.port = int(self.settings.get("port", PORT))
        self.dir = tempfile.mkdtemp(prefix="luamig-pg-", dir="/tmp")
        self.data = os.path.join(self.dir, "data")
        self.log_path = os.path.join(self.dir, "log")
        self.process = None
        os.chmod(self.dir, 0o755)
        if os.geteuid() == 0:
            shutil.chown(self.dir, "postgres", "postgres")
        if primary:
            self._copy_of(primary)
        else:
            subprocess.run(["cp", "-a", self._initdb(), self.data], check=True)

    # -- life cycle ----------------------------------------------------

    def start(self):
        command = [os.path.join(bin_dir(), "postgres"), "-D", self.data]
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
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(60)

    def crash(self):
        """What pg_ctl -m immediate does: memory is lost, files stay."""
        self.stop(signal.SIGQUIT)

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
        self.execute(f'CREATE DATABASE "{name}" OWNER "{owner}" '
                     f'TEMPLATE "{template}"')
        return Database(self, name)

    def database(self, name):
        """One that is there."""
        return Database(self, name)

    def execute(self, sql):
        """One statement as the superuser, outside any test's database."""
        self._ask(sql, (), lambda cursor: None)

    def query(self, sql, *parameters, dbname="postgres"):
        """The rows of one query, in the same way."""
        return self._ask(sql, parameters, lambda cursor: cursor.fetchall(),
                         dbname)

    def _ask(self, sql, parameters, take, dbname="postgres"):
        link = self.connect(dbname)
        try:
            cursor = link.cursor()
            cursor.execute(sql, parameters or None)
            return take(cursor)
        finally:
            link.close()

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

    def _copy_of(self, primary):
        subprocess.run(
            [os.path.join(bin_dir(), "pg_basebackup"), "-D", self.data,
             "-h", primary.dir, "-p", str(primary.port), "-U", SUPERUSER, "-R",
             "--checkpoint=fast", "--no-sync"],
            check=True, cwd="/", **_server_user())

    # -- the files of a fresh server -------------------------------------

    @classmethod
    def fresh(cls, **settings):
        """A server with a system identifier of its own."""
        before, cls._template = cls._template, None
        try:
            return cls(**settings)
        finally:
            cls._template = before or cls._template

    @classmethod
    def _initdb(cls):
        if cls._template is None:
            cls._template = cls._make_template()
        return cls._template

    @classmethod
    def _make_template(cls):
        top = tempfile.mkdtemp(prefix="luamig-initdb-", dir="/tmp")
        atexit.register(shutil.rmtree, top, ignore_errors=True)
        data = os.path.join(top, "data")
        if os.geteuid() == 0:
            shutil.chown(top, "postgres", "postgres")
        subprocess.run(
            [os.path.join(bin_dir(), "initdb"), "-D", data, "-U", SUPERUSER,
             "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync",
             "--no-instructions"],
            check=True, stdout=subprocess.DEVNULL, cwd="/", **_server_user())
        with open(os.path.join(data, "pg_hba.conf"), "w") as hba:
            hba.write(HBA)
        cls._make_roles(data)
        return data

    @classmethod
    def _make_roles(cls, data):
        sql = (f"CREATE ROLE {OWNER} LOGIN\n"
               f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'\n")
        subprocess.run(
            [os.path.join(bin_dir(), "postgres"), "--single", "-D", data,
             "-c", "fsync=off", "postgres"],
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
        if link is None or not self._is_up(link):
            link = self._links[user] = self.connect(user=user)
        with link.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else None

    @staticmethod
    def _is_up(link):
        """An idle session has nothing to say: what is readable is its end."""
        if link.closed or select.select([link], [], [], 0)[0]:
            link.close()
            return False
        return True

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

    def has_journal(self):
        return self.scalar("SELECT to_regclass('luamig.progress') IS NOT NULL",
                           user=SUPERUSER)

    def progress(self, column="rows"):
        """A counter of the latest run, 0 before there is one."""
        if not self.has_journal():
            return 0
        return self.scalar(f"SELECT {column} FROM luamig.progress "
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
