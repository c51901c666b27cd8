"""A project folder with scripts, and the luamig that runs them.

Every result is held against what luamig promises about its output whatever
happens: stderr speaks in lines that begin with "luamig: ", or in JSON objects
after --log json, and no sanitizer has anything to say.
"""

import json
import os
import re
import select
import signal
import subprocess
import tempfile

from harness.wait import wait_until

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
DONE, FAILED, USAGE, INVALID, UNREACHABLE, STOPPED, BUSY = 0, 1, 2, 3, 4, 5, 6
FAILURES, CANCELLED, INTERNAL = 7, 8, 70
SANITIZER_EXIT = 99
# What a server says in the moment between the end of libpq's connecting and
# its return; nobody can listen there but libpq, which prints it.
LIBPQ_SAYS = ("FATAL:  terminating connection",
              "WARNING:  terminating connection")
TIMEOUT = 180  # only bounds a hang


def binary():
    return os.environ.get("LUAMIG_BIN") or os.path.join(
        TOP, "build", "test", "luamig")


def clean_environment():
    """The environment without anything that names a database or a fault."""
    kept = {name: value for name, value in os.environ.items()
            if not re.match(r"LUAMIG_|PG|DATABASE_URL|LUA_|NO_COLOR", name)}
    servers = os.environ.get("LUAMIG_PG_BIN") or os.environ.get("PG_BIN")
    if servers:
        kept["LUAMIG_PG_BIN"] = servers
    # Three frames of each allocation; all would take a tenth of the time.
    kept["ASAN_OPTIONS"] = f"exitcode={SANITIZER_EXIT}:malloc_context_size=3"
    kept["UBSAN_OPTIONS"] = f"exitcode={SANITIZER_EXIT}:print_stacktrace=1"
    kept["LSAN_OPTIONS"] = f"exitcode={SANITIZER_EXIT}"
    return kept


class Result:
    """How one luamig ended: code, out, err."""

    def __init__(self, command, code, out, err):
        self.command, self.code, self.out, self.err = command, code, out, err

    def __repr__(self):
        return (f"{' '.join(self.command)}\nexit {self.code}\n"
                f"--- stdout\n{self.out}--- stderr\n{self.err}---")

    def checked(self):
        assert "Sanitizer" not in self.err, self
        assert "runtime error:" not in self.err, self
        stray = [line for line in self.err.splitlines()
                 if not self._is_wanted(line)]
        assert not stray, f"stray lines on stderr: {stray}\n{self}"
        return self

    def _is_wanted(self, line):
        if line.startswith(LIBPQ_SAYS):
            return True
        return (line.startswith("luamig: ") if not self.logs_json
                else isinstance(json.loads(line).get("level"), str))

    @property
    def logs_json(self):
        return ("--log", "json") in zip(self.command, self.command[1:])

    @property
    def log(self):
        """The objects of --log json."""
        return [json.loads(line) for line in self.err.splitlines()]

    def expect(self, code, *texts):
        """Asserts the exit code, and texts (or patterns) in the output."""
        assert self.code == code, f"expected exit {code}\n{self}"
        both = self.out + self.err
        for text in texts:
            found = (text.search(both) if hasattr(text, "search")
                     else text in both)
            assert found, f"expected {text!r}\n{self}"
        return self

    def refuse(self, *texts):
        """Asserts that none of the texts was printed."""
        for text in texts:
            assert text not in self.out + self.err, f"{text!r} in\n{self}"
        return self

    @property
    def rows(self):
        """Rows that the summary line counts."""
        found = re.search(r"^run \d+ [^:]*: ([\d,]+) rows?", self.out, re.M)
        assert found, f"no summary\n{self}"
        return int(found.group(1).replace(",", ""))

    @property
    def retries(self):
        found = re.search(r"([\d,]+) retr(?:y|ies)", self.out)
        assert found, f"no summary\n{self}"
        return int(found.group(1).replace(",", ""))


class Runner:
    """A luamig that is still running."""

    def __init__(self, command, env, cwd, stdin=None):
        self.command = command
        self._in = tempfile.TemporaryFile("w+", encoding="utf-8")
        self._in.write(stdin or "")
        self._in.seek(0)
        self._out = tempfile.TemporaryFile("w+", encoding="utf-8")
        self._err = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=self._in,
            stdout=self._out, stderr=self._err, start_new_session=True)

    @property
    def pid(self):
        return self.process.pid

    @property
    def alive(self):
        return self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def freeze(self):
        """SIGSTOP, and certain that it has stopped."""
        self.signal(signal.SIGSTOP)
        self.wait_frozen()

    def wait_frozen(self, timeout=60):
        """Waits for a SIGSTOP, its own ("=stop") or ours."""
        def frozen():
            assert self.alive, f"ended instead of stopping:\n{self.result()}"
            with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] == "T"
        wait_until(frozen, f"{' '.join(self.command)} to stop", timeout)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """SIGKILL. True when that ended it, false when it ended before."""
        self.process.kill()
        return self.process.wait(30) == -signal.SIGKILL

    def stderr(self):
        self._err.flush()
        return self._read(self._err)

    @staticmethod
    def _read(stream):
        with open(f"/proc/self/fd/{stream.fileno()}",
                  encoding="utf-8", errors="replace") as again:
            return again.read()

    def result(self):
        return Result(self.command, self.process.poll(),
                      self._read(self._out), self._read(self._err))

    def wait(self, timeout=TIMEOUT):
        """The result, once it has ended."""
        if self.alive:
            self._wait_for_the_end(timeout)
        if self.alive:
            self.kill()
            raise AssertionError(f"hangs:\n{self.result()}")
        return self.result().checked()

    def _wait_for_the_end(self, timeout):
        """At once, where Popen.wait looks every 50 ms."""
        end = os.pidfd_open(self.pid)
        try:
            select.select([end], [], [], timeout)
        finally:
            os.close(end)

    def abandon(self):
        if self.alive:
            self.process.kill()
            self.process.wait(30)


class Project:
    """A folder with scripts/, bound to a database unless a command says
    otherwise."""

    def __init__(self, path, url=None):
        self.path = str(path)
        self.url = url
        self.env = {}
        self._runners = []
        os.makedirs(os.path.join(self.path, "scripts"), exist_ok=True)

    def write(self, name, text):
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return name

    def script(self, text, name="scripts/x.lua"):
        return self.write(name, text)

    def read(self, name):
        with open(os.path.join(self.path, name), encoding="utf-8") as file:
            return file.read()

    def exists(self, name):
        return os.path.exists(os.path.join(self.path, name))

    # -- commands --------------------------------------------------------

    def start(self, *arguments, fault=None, env=None, url=True, cwd=None,
              stdin=None, host=None):
        """Starts luamig; url=False leaves the database unnamed. host: the name
        of a machine of its own (a UTS namespace)."""
        command = [binary(), *map(str, arguments)]
        if host:
            command = ["unshare", "-u", "sh", "-c",
                       f'hostname {host} && exec "$0" "$@"', *command]
        url = self.url if url is True else url
        if url and "--db" not in command:
            command += ["--db", url]
        environment = {**clean_environment(), **self.env, **(env or {})}
        if fault:
            environment["LUAMIG_FAULT"] = fault
        runner = Runner(command, environment, cwd or self.path, stdin)
        self._runners.append(runner)
        return runner

    def luamig(self, *arguments, timeout=TIMEOUT, **options):
        """Runs luamig to its end."""
        return self.start(*arguments, **options).wait(timeout)

    def run(self, *arguments, script="scripts/x.lua", **options):
        return self.luamig("run", script, *arguments, **options)

    def start_run(self, *arguments, script="scripts/x.lua", **options):
        return self.start("run", script, *arguments, **options)

    def status(self, *arguments, **options):
        """What `status --json` says: a list of runs."""
        result = self.luamig("status", *arguments, "--json", **options)
        return json.loads(result.expect(DONE).out)

    def close(self):
        for runner in self._runners:
            runner.abandon()
