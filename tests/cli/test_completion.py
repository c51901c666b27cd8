"""Completion in bash, and that it and the help texts know the same options."""

import os
import re
import shlex
import subprocess

import pytest

from harness.project import DONE, USAGE, Project, clean_environment

# What bash does when somebody types these words and then Tab.
PRESS_TAB = """
load() {{ source "$1"; }} # as bash-completion does, inside of a function
load completion.bash
COMP_WORDS=({words})
COMP_CWORD={last}
_luamig
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


class Shell:
    def __init__(self, path):
        self.project = Project(path)
        self.project.write("completion.bash", self.project.luamig(
            "completion", "bash").expect(DONE).out)

    def complete(self, *words):
        """What is offered for the last word."""
        words = ("luamig", *words)
        done = subprocess.run(
            ["bash", "--norc", "-c", PRESS_TAB.format(
                words=" ".join(map(shlex.quote, words)),
                last=len(words) - 1)],
            cwd=self.project.path, env=clean_environment(), timeout=60,
            capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return sorted(filter(None, done.stdout.split("\n")))

    def commands(self):
        out = self.project.luamig("help").expect(DONE).out
        return re.findall(r"^  ([a-z-]+) {2,}\S", out, re.M)

    def options(self, command):
        """The options that the completion offers: those of getopt's table."""
        return set(self.complete(command, "--")) - {"--help"}


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    return Shell(tmp_path_factory.mktemp("shell"))


def test_commands_are_completed(shell):
    assert set(shell.complete("")) == {*shell.commands(), "--help",
                                       "--version"}
    assert shell.complete("st") == ["status"]
    assert shell.complete("nothing") == []
    assert shell.complete("help", "ca") == ["cancel"]


def test_options_are_those_of_the_command(shell):
    assert "--batch-size" in shell.complete("run", "--")
    assert shell.complete("cancel", "--n") == ["--now"]
    assert shell.complete("pause", "--n") == []
    assert shell.complete("run", "scripts/x.lua", "--th") == ["--throttle-ms"]
    assert shell.complete("version", "--") == ["--help"]


def test_scripts_and_folders_are_completed(shell):
    shell.project.write("scripts/a b.lua", "")
    shell.project.write("scripts/deep/c.lua", "")
    shell.project.write("scripts/notes.txt", "")
    assert shell.complete("run", "scr") == ["scripts"]
    assert shell.complete("run", "scripts/") == ["scripts/a b.lua",
                                                 "scripts/deep"]
    assert shell.complete("run", "--again", "scripts/deep/") == [
        "scripts/deep/c.lua"]


def test_values_are_completed_where_they_are_known(shell):
    assert shell.complete("run", "--db", "") == ["embedded"]
    assert shell.complete("run", "--db", "=", "em") == ["embedded"]
    assert shell.complete("run", "--db", "=") == ["embedded"]
    assert shell.complete("watch", "--log", "j") == ["json"]
    assert shell.complete("run", "--limit", "") == []
    assert shell.complete("version", "") == []


def test_the_file_of_a_secret_is_completed(shell):
    """Bash takes "=" for a word."""
    shell.project.write("secrets/token", "")
    for words in (["secrets/", ], ["secrets/to"]):
        assert shell.complete("run", "x.lua", "--arg-file", "token", "=",
                              *words) == ["secrets/token"]
    assert "secrets" in shell.complete("run", "--arg-file", "token", "=")
    assert shell.complete("run", "--input", "secrets/t") == ["secrets/token"]
    assert shell.complete("run", "--arg", "n", "=", "") == []
    assert shell.complete("run", "--arg-file", "") == []


def test_a_run_may_be_named_by_its_script_but_a_table_is_no_file(shell):
    shell.project.write("a.lua", "")
    for command in ("pause", "resume", "cancel", "watch", "wait", "failures",
                    "set"):
        assert "a.lua" in shell.complete(command, ""), command
    assert shell.complete("schema", "") == []


def test_the_words_of_db_are_those_of_its_help(shell):
    out = shell.project.luamig("help", "db").expect(DONE).out
    words = set(re.findall(r"^(?:usage:|  +)\s*luamig db (\w+)", out, re.M))
    assert set(shell.complete("db", "")) == words
    assert shell.complete("db", "psql", "") == []


def test_every_option_is_in_the_help_and_the_other_way_round(shell):
    for command in shell.commands():
        out = shell.project.luamig("help", command).expect(DONE).out
        usage = out.partition("\n\n")[0]
        listed = set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", out, re.M))
        listed |= set(re.findall(r"[\s[](--[a-z-]+)", usage))
        assert listed - {"--help"} == shell.options(command), command


def test_the_help_names_the_value_of_each_option_that_needs_one(shell):
    tables = shell.project.read("completion.bash")
    values = tables.partition("_luamig_values=(")[2].partition("\n)")[0]
    for command in shell.commands():
        out = shell.project.luamig("help", command).expect(DONE).out
        takes = re.search(rf'\[{command}\]="(.*)"', values).group(1).split()
        for option in shell.options(command):
            shown = re.search(rf"{option}\b( [A-Z]+)?", out).group(1)
            assert bool(shown) == (option in takes), (command, option)


def test_other_shells_are_not_known(shell):
    shell.project.luamig("completion", "fish").expect(USAGE, "takes bash")
    shell.project.luamig("completion").expect(USAGE)


def test_the_script_is_clean(shell):
    done = subprocess.run(
        ["shellcheck", "-s", "bash",
         os.path.join(shell.project.path, "completion.bash")],
        capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
