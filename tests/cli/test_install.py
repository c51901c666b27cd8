"""What cmake --install leaves. The specs of the examples pass on its Lua modules
alone, where there is no luamig, and with its luamig in both kinds of world.
"""

import os
import re
import shutil
import subprocess

import pytest

from harness.project import DONE, TOP, binary, clean_environment

EXAMPLES = sorted(name.removesuffix(".lua") for name in
                  os.listdir(os.path.join(TOP, "scripts"))
                  if name.endswith(".lua"))
# On PostgreSQL every third, since their properties are hundreds of runs there.
ON_POSTGRESQL = (EXAMPLES if os.environ.get("LUAMIG_EXAMPLES") == "all"
                 else EXAMPLES[::3])


@pytest.fixture(scope="module", name="prefix")
def fixture_prefix(tmp_path_factory):
    """Where luamig is installed."""
    prefix = tmp_path_factory.mktemp("prefix")
    subprocess.run(["cmake", "--install",
                    os.path.dirname(os.path.abspath(binary())),
                    "--prefix", prefix],
                   check=True, capture_output=True, timeout=120)
    return str(prefix)


@pytest.fixture(scope="module", name="folder")
def fixture_folder(tmp_path_factory):
    """The examples, their specs, and nothing else."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(os.path.join(TOP, "scripts"), folder / "scripts")
    (folder / "spec").mkdir()
    for name in EXAMPLES:
        shutil.copy(os.path.join(TOP, "tests", "lua", name + "_spec.lua"),
                    folder / "spec")
    return folder


def passed(folder, *command, path):
    """How many specs pass; none may not."""
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=500,
        check=False, env={**clean_environment(), "LUA_PATH": path})
    assert ended.returncode == DONE, ended.stdout + ended.stderr
    assert ended.stderr == ""
    return int(re.search(r"^(\d+) successes / 0 failures / 0 errors / "
                         "0 pending", ended.stdout, re.M).group(1))


def test_the_examples_specs_pass_in_plain_busted_and_in_both_worlds(
        prefix, folder):
    modules = os.path.join(prefix, "share", "lua", "5.4")
    luamig = os.path.join(prefix, "bin", "luamig")
    alone = passed(folder, "lua5.4", shutil.which("busted"), "spec",
                   path=f"{modules}/?.lua;{modules}/?/init.lua;;")

    assert alone >= 4 * len(EXAMPLES)
    assert passed(folder, luamig, "test", path=";;") == alone
    specs = [f"spec/{name}_spec.lua" for name in ON_POSTGRESQL]
    assert passed(folder, luamig, "test", "--pg", "--schema",
                  "scripts/schema.sql", *specs, path=";;") >= 4 * len(specs)
