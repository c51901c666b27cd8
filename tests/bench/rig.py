"""What the benchmark stands on: a throw-away server, fresh tables, the proxy,
and the measuring of one command."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
PORT = "5432"

STEP = ("(ARRAY['welcome', 'profile', 'invite', 'done'])"
        "[(id + length(email)) % 4 + 1]")

USERS = """
DROP TABLE IF EXISTS users_template;
CREATE TABLE users_template (
    id bigint PRIMARY KEY, email text NOT NULL, onboarding_step text,
    created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO users_template (id, email)
SELECT n, format('user%s@example.org', n) FROM generate_series(1, {rows}) n;
ANALYZE users_template;
"""

WIDE = """
DROP TABLE IF EXISTS wide_template;
CREATE TABLE wide_template (id bigint PRIMARY KEY,
    done boolean NOT NULL DEFAULT false, {columns});
INSERT INTO wide_template SELECT n, false, {values}
FROM generate_series(1, {rows}) n;
ANALYZE wide_template;
"""

COPY = """
DROP TABLE IF EXISTS audit, {table};
CREATE TABLE {table}
    (LIKE {table}_template INCLUDING ALL EXCLUDING INDEXES);
INSERT INTO {table} SELECT * FROM {table}_template WHERE id <= {rows};
ALTER TABLE {table} ADD PRIMARY KEY (id), SET (autovacuum_enabled = false);
DROP TABLE IF EXISTS bench_checkpoint;
CREATE TABLE bench_checkpoint (id int PRIMARY KEY, cursor text,
    rows bigint NOT NULL, batches bigint NOT NULL, at timestamptz);
INSERT INTO bench_checkpoint VALUES (1, NULL, 0, 0, NULL);
DROP SCHEMA IF EXISTS luamig CASCADE;
"""

AUDIT = """
CREATE TABLE audit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL {references}, step text NOT NULL,
    at timestamptz NOT NULL DEFAULT now())
    WITH (autovacuum_enabled = false);
"""


class Failed(Exception):
    pass


@dataclass
class Usage:
    seconds: float
    cpu: float
    peak_mib: float
    server_cpu: float

    @property
    def all_cpu(self):
        return self.cpu + self.server_cpu


def output(*argv, **options):
    done = subprocess.run(argv, capture_output=True, text=True, check=False,
                          **options)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, argv))}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


class Rig:
    """A server in a directory of its own, which goes with it."""

    def __init__(self, luamig):
        self.luamig = str(pathlib.Path(luamig).resolve())
        self.scripts = HERE / "scripts"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="luamig-bench-"))
        self.dir.chmod(0o755)
        self.started = False

    def __enter__(self):
        try:
            for name in ("measure", "proxy", "peers"):
                self._compile(name)
            self.started = True
            output(self.luamig, "db", "start", cwd=self.dir)
            url = urllib.parse.urlparse(
                output(self.luamig, "db", "url", cwd=self.dir))
            query = urllib.parse.parse_qs(url.query)
            self.socket_dir = query["host"][0]
            self.user = query["user"][0]
            self.conninfo = self.conninfo_of(self.socket_dir)
            self.sql("ALTER SYSTEM SET max_wal_size = '8GB'",
                     "ALTER SYSTEM SET checkpoint_timeout = '1h'",
                     "SELECT pg_reload_conf()")
            self.journal = output(self.luamig, "journal", "--sql")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.started:
            subprocess.run([self.luamig, "db", "stop"], cwd=self.dir,
                           capture_output=True, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _compile(self, name):
        flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra"]
        include = output("pg_config", "--includedir")
        output("gcc", *flags, f"-I{include}", "-o", self.dir / name,
               HERE / f"{name}.c", "-lpq")

    def conninfo_of(self, directory):
        return f"host={directory} port={PORT} user={self.user} dbname=postgres"

    def sql(self, *statements):
        """Runs statements, each in a transaction of its own; the answer of
        the last one."""
        argv = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
                self.conninfo]
        for statement in statements:
            argv += ["-c", statement]
        return output(*argv)

    # -- tables --

    def make_users(self, rows):
        self.sql(USERS.format(rows=rows))

    def make_wide(self, rows, columns):
        self.sql(WIDE.format(
            rows=rows,
            columns=", ".join(f"c{i} text NOT NULL"
                              for i in range(1, columns + 1)),
            values=", ".join(f"'value ' || n + {i}"
                             for i in range(1, columns + 1))))

    def fresh(self, rows, audit=None, table="users"):
        """The tables as they are before a run."""
        self.sql(COPY.format(table=table, rows=rows))
        if audit:
            references = "REFERENCES users" if audit == "linked" else ""
            self.sql(AUDIT.format(references=references))
        self.sql(self.journal)
        self.sql(f"VACUUM (FREEZE, ANALYZE) {table}", "CHECKPOINT")

    def check(self, rows, audit=None, constant=False):
        """Has every row got what it should have?"""
        step = "'welcome'" if constant else STEP
        bad = self.sql("SELECT count(*) FROM users"
                       f" WHERE onboarding_step IS DISTINCT FROM {step}")
        right = self.sql("SELECT count(*) FROM users")
        if audit:
            right = self.sql("SELECT count(*) FROM users JOIN (SELECT"
                             " user_id, step FROM audit) AS audit"
                             " ON users.id = user_id"
                             f" WHERE step = {STEP}")
        if bad != "0" or right != str(rows):
            raise Failed(f"wrong rows: {bad}, right ones: {right} of {rows}")

    def check_wide(self, columns):
        wrong = " OR ".join(f"c{i} <> upper(c{i})"
                            for i in range(1, columns + 1))
        bad = self.sql(f"SELECT count(*) FROM wide WHERE NOT done OR {wrong}")
        if bad != "0":
            raise Failed(f"wrong rows: {bad}")

    # -- measuring --

    def measure(self, argv, core=None, env=None):
        report = self.dir / "report"
        pin = ["taskset", "-c", str(core)] if core is not None else []
        before = self._server_cpu()
        with self._server_on(core):
            output(self.dir / "measure", report, *pin, *argv, cwd=self.dir,
                   env={**os.environ, **(env or {})})
        seconds, user, system, peak = report.read_text().split()
        time.sleep(0.1)  # until its sessions have ended
        return Usage(float(seconds), float(user) + float(system),
                     int(peak) / 1024, self._server_cpu() - before)

    def _server_pid(self):
        data = pathlib.Path(self.socket_dir) / "data"
        return int((data / "postmaster.pid").read_text().split()[0])

    def _server_cpu(self):
        """CPU seconds of the server's processes, those that ended included."""
        server = self._server_pid()
        ticks = 0
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                if int(path.parent.name) == server:
                    ticks += sum(map(int, fields[11:15]))
                elif int(fields[1]) == server:
                    ticks += sum(map(int, fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    @contextlib.contextmanager
    def _server_on(self, core):
        """Backends that start meanwhile run on that core alone."""
        if core is None:
            yield
            return
        pid = self._server_pid()
        cores = os.sched_getaffinity(pid)
        os.sched_setaffinity(pid, {core})
        try:
            yield
        finally:
            os.sched_setaffinity(pid, cores)

    @contextlib.contextmanager
    def proxy(self, delay_us):
        """Yields the proxy; its round_trips are known afterwards."""
        directory = self.dir / "through"
        directory.mkdir(exist_ok=True)
        path = directory / f".s.PGSQL.{PORT}"
        path.unlink(missing_ok=True)
        process = subprocess.Popen(
            [self.dir / "proxy", path,
             f"{self.socket_dir}/.s.PGSQL.{PORT}", str(delay_us)],
            stdout=subprocess.PIPE, text=True)
        through = Proxy(self.conninfo_of(directory), process.pid)
        try:
            while not path.exists():
                if process.poll() is not None:
                    raise Failed("the proxy did not start")
                time.sleep(0.01)
            yield through
            process.send_signal(signal.SIGTERM)
            through.round_trips = int(process.communicate(timeout=30)[0])
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


@dataclass
class Proxy:
    conninfo: str
    pid: int
    round_trips: int = 0

    def ticks(self):
        """CPU time so far: of the proxy, of all processes, and that the cores
        could have given."""
        stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii")
        own = sum(map(int, stat.rpartition(")")[2].split()[11:13]))
        line = pathlib.Path("/proc/stat").read_text(encoding="ascii")
        cores = list(map(int, line.split("\n", 1)[0].split()[1:9]))
        return own, sum(cores) - cores[3] - cores[4], sum(cores)


def say(text):
    print(text, file=sys.stderr, flush=True)
