"""What a person at a terminal sees."""

import json
import re

import pytest

from harness.project import DONE, STOPPED
from harness.terminal import Terminal, at_a_terminal
from harness.wait import wait_until

SLOW = """return {
  config = { batch_size = 10, throttle_ms = 30 },
  base_query = "SELECT id FROM users WHERE step IS NULL",
  migrate = function(rows, repo)
    repo:update_all("users", { step = "x" }, "id BETWEEN $1 AND $2",
                    rows[1].id, rows[#rows].id)
  end,
}"""


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


def test_no_colour_with_no_color_set(slow):
    code, shown = at_a_terminal(slow, "run", "scripts/nope.lua",
                                "--db", slow.url, env={"NO_COLOR": "1"})
    assert code == 3
    assert not re.search(r"\x1b\[[\d;]*m", shown), shown


def test_a_narrow_terminal_shows_the_beginning_of_the_line(slow):
    code, shown = at_a_terminal(slow, "run", "scripts/x.lua", "--db", slow.url,
                                columns=40)
    assert code == 0, shown
    drawn = re.findall(r"\r\x1b\[K([^\r\n\x1b]*)", shown)
    drawn = [line for line in drawn if line.startswith("[")]
    assert {len(line) for line in drawn} == {39}, shown


def test_json_is_not_drawn_over(slow):
    code, shown = at_a_terminal(slow, "run", "scripts/x.lua", "--db", slow.url,
                                "--log", "json")
    assert code == 0, shown
    assert "\x1b" not in shown, shown
    lines = [line for line in shown.splitlines() if line.startswith("{")]
    assert json.loads(lines[-1])["exit_code"] == 0, shown


def test_a_terminal_that_is_closed_stops_the_run_after_its_batch(slow, db):
    terminal = Terminal(slow, "run", "scripts/x.lua", "--db", slow.url)
    wait_until(lambda: db.progress() >= 30, "the run to be at work")
    terminal.close()
    assert terminal.process.wait(60) == STOPPED
    assert db.state() == "stopped"
    assert 30 <= db.progress() < 300
    assert slow.run().expect(DONE).rows == 300
