"""What a person at a terminal sees."""

import os
import pty
import re
import subprocess
import threading

import pytest

from harness.project import binary, clean_environment

SLOW = """return {
  config = { batch_size = 10, throttle_ms = 30 },
  base_query = "SELECT id FROM users WHERE step IS NULL",
  migrate = function(rows, repo)
    repo:update_all("users", { step = "x" }, "id BETWEEN $1 AND $2",
                    rows[1].id, rows[#rows].id)
  end,
}"""


def at_a_terminal(project, *arguments, env=None):
    """Runs luamig on a terminal: exit code and all that was shown."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [binary(), *arguments], stdin=slave, stdout=slave, stderr=slave,
        cwd=project.path, start_new_session=True,
        env={**clean_environment(), "TERM": "xterm", **(env or {})})
    os.close(slave)
    shown = []

    def read():
        try:
            while piece := os.read(master, 65536):
                shown.append(piece)
        except OSError:  # how Linux says that nobody writes any more
            pass

    reader = threading.Thread(target=read)
    reader.start()
    code = process.wait(60)
    reader.join(10)
    os.close(master)
    return code, b"".join(shown).decode()


@pytest.fixture
def slow(db, project):
    db.execute("CREATE TABLE users (id int PRIMARY KEY, step text);"
               "INSERT INTO users SELECT generate_series(1, 300);"
               "ANALYZE users")
    project.script(SLOW)
    return project


def test_a_line_of_progress_that_is_redrawn(slow):
    code, shown = at_a_terminal(slow, "run", "scripts/x.lua", "--db", slow.url)
    assert code == 0, shown
    assert len(re.findall(r"\r", shown.replace("\r\n", ""))) > 3, shown
    assert "rows/s" in shown and "run 1 done: 300 rows" in shown, shown


def test_no_colour_when_none_is_wanted(slow):
    code, shown = at_a_terminal(slow, "run", "scripts/nope.lua",
                                "--db", slow.url, env={"NO_COLOR": "1"})
    assert code == 3
    assert not re.search(r"\x1b\[[\d;]*m", shown), shown
