"""docs/getting-started.md, typed from its first line to its last by somebody who
compares what each command prints with what the page shows.
"""

import os
import re
import shutil
import subprocess
import tempfile

import pytest

from harness.pages import Page
from harness.project import binary, clean_environment

PAGE = Page("getting-started.md")
SCRIPT, SPEC = "scripts/fill_names.lua", "spec/fill_names_spec.lua"
# Differs from one machine, and one time, to the next.
VARIES = (r"\b[\d.,]+(m?s\b| seconds| rows/s)", r"\d{4}-\d\d-\d\d [\d:]+\+\d\d",
          r"PostgreSQL \d+\.[^)]*\)", r"(?<=\?host=).*?(?=&)")


class Shop:
    """The page's folder, and a shell whose state outlives each block."""

    def __init__(self, folder):
        self.path, self.state = f"{folder}/shop", f"{folder}/state"
        self.environment = {
            **clean_environment(), "LSAN_OPTIONS": "detect_leaks=0",
            "PATH": f"{os.path.dirname(os.path.abspath(binary()))}:"
                    f"{os.environ['PATH']}"}
        with open(self.state, "w", encoding="utf-8") as file:
            file.write(f"cd {folder}\n")

    def type(self, commands):
        """What the commands print."""
        typed = (f". {self.state}\n{commands}\n"
                 f'{{ export -p; printf "cd %q\n" "$PWD"; }} >{self.state}')
        done = subprocess.run(
            ["bash", "-c", typed], env=self.environment, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=180)
        return lines(done.stdout.replace(self.path, "..."))

    def read(self, name):
        with open(os.path.join(self.path, name), encoding="utf-8") as file:
            return file.read()

    def write(self, name, text):
        with open(os.path.join(self.path, name), "w",
                  encoding="utf-8") as file:
            file.write(text)

    def put_into_spec(self, piece, pattern):
        """Puts a piece where the generated spec has its own."""
        spec, count = re.subn(pattern, lambda _: piece, self.read(SPEC),
                              flags=re.M | re.S)
        assert count == 1, pattern
        self.write(SPEC, spec)

    def edit(self, piece):
        """Does with a block of Lua what the page says."""
        if piece.startswith("-- Gives"):
            self.write(SCRIPT, piece)
        elif piece.lstrip().startswith("rows ="):
            self.put_into_spec(piece, r"^ {8}rows = \{\n.*?^ {8}\},\n")
        else:
            self.put_into_spec(piece, r'^  it\("does what it is for".*?'
                                      r"^  end\)\n")


def lines(text):
    """Its lines without what varies. Their order is that of two streams on a
    terminal, and lost here."""
    for pattern in VARIES:
        text = re.sub(pattern, "#", text, flags=re.M)
    return sorted(line.rstrip() for line in text.splitlines() if line.strip())


@pytest.fixture
def shop():
    folder = tempfile.mkdtemp(prefix="luamig-shop-", dir="/tmp")
    os.chmod(folder, 0o755)  # the database's user may enter
    opened = Shop(folder)
    yield opened
    opened.type("luamig db stop")
    shutil.rmtree(folder)


def test_the_ten_minutes(shop):
    printed = []
    for language, text in PAGE.blocks():
        if language == "lua":
            shop.edit(text)
        elif language == "sh":
            assert printed == [], "the page does not show this"
            printed = shop.type(text)
        else:
            assert printed == lines(text)
            printed = []
            if "emial" in text:
                shop.write(SCRIPT, shop.read(SCRIPT).replace("emial", "email"))
    assert printed == []
