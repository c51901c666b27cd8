"""The examples of a page in docs/.

A block that opens with a comment like "-- scripts/x.lua" is that file of a
project. Every other one is asked for by a test, by how it begins.
"""

import os
import re

from harness.project import TOP

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.M | re.S)
_FILE = re.compile(r"-- ((?:scripts|spec)/\w+\.lua)\b.*\n")


class Page:
    def __init__(self, name):
        self.name = f"docs/{name}"
        with open(os.path.join(TOP, self.name), encoding="utf-8") as page:
            self.text = page.read()
        self.files = {}
        self._others = {}  # text of a block: its place
        for found in _BLOCK.finditer(self.text):
            self._take(re.sub(f"^{found[1]}", "", found[3], flags=re.M),
                       found.start())
        self._asked = set()

    def _take(self, text, offset):
        file = _FILE.match(text)
        if file:
            assert file[1] not in self.files, f"two blocks are {file[1]}"
            self.files[file[1]] = text
        else:
            line = self.text.count("\n", 0, offset) + 1
            self._others[text] = f"{self.name}:{line}"

    def blocks(self):
        """All of them, one after the other: language and text."""
        return [(found[2], re.sub(f"^{found[1]}", "", found[3], flags=re.M))
                for found in _BLOCK.finditer(self.text)]

    def block(self, start):
        """The one block that begins like this."""
        found = [text for text in self._others
                 if text.lstrip().startswith(start)]
        assert len(found) == 1, (self.name, start, found)
        self._asked.add(found[0])
        return found[0]

    def not_asked_for(self):
        """The places of blocks that nobody has asked for."""
        return [place for text, place in self._others.items()
                if text not in self._asked]
