"""Fixtures of every suite: one server a session, one database and one project
folder a test."""

import os

import pytest

from harness import postgres
from harness.cluster import Cluster, share_templates
from harness.project import Project, binary
from harness.proxy import Proxy


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        share_templates()


def pytest_sessionstart():
    if not os.access(binary(), os.X_OK):
        pytest.exit(f"no luamig at {binary()}; build it or set LUAMIG_BIN", 2)


def is_unknown(item):
    """Does the server not know what the test is about?"""
    since = item.get_closest_marker("since")
    return since and postgres.major() < since.args[0]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Tests for which their module makes something, such as a server, go to
    one worker, which makes it once. They begin, and those marked as long, so
    that in the end no worker waits for another."""
    unknown = [item for item in items if is_unknown(item)]
    config.hook.pytest_deselected(items=unknown)
    items[:] = [item for item in items if item not in unknown]
    for item in items:
        mark_version(item)
        fixtures = item._fixtureinfo.name2fixturedefs.values()
        if any(made[-1].scope == "module" for made in fixtures):
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))
    items.sort(key=lambda item: not any(
        map(item.get_closest_marker, ("xdist_group", "long"))))


def mark_version(item):
    """A test with a parameter `version` is about that version only, so one of
    those that other versions are tested with."""
    case = getattr(item, "callspec", None)
    version = case and case.params.get("version")
    if version:
        item.add_marker("versions")
    if version and version != postgres.major():
        item.add_marker("elsewhere")


@pytest.fixture(scope="session")
def cluster():
    server = Cluster().start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def server_of(request):
    """server_of(18) is a running server of PostgreSQL 18; a test is skipped
    where that version is not here (./dev postgres 18 fetches it)."""
    servers = {}

    def server(version):
        if version == postgres.major():
            return request.getfixturevalue("cluster")
        if version not in servers:
            servers[version] = Cluster(version=version).start()
        return servers[version]
    yield server
    for one in servers.values():
        one.remove()


@pytest.fixture
def db_of(server_of):
    """db_of(18) is a new database on such a server."""
    made = []

    def database(version):
        made.append(server_of(version).make_database())
        return made[-1]
    yield database
    for one in made:
        one.drop()


@pytest.fixture
def project_of(db_of, tmp_path):
    """project_of(18) is a new project bound to such a database, its db;
    the programs of that version are those of its throw-away servers."""
    made = []

    def project(version):
        database = db_of(version)
        folder = Project(tmp_path / f"project{len(made)}", database.url)
        folder.db = database
        folder.env["LUAMIG_PG_BIN"] = database.cluster.bin
        made.append(folder)
        return folder
    yield project
    for one in made:
        one.close()


@pytest.fixture
def db(cluster):
    database = cluster.make_database()
    yield database
    database.drop()


@pytest.fixture
def project(db, tmp_path):
    folder = Project(tmp_path, db.url)
    yield folder
    folder.close()


@pytest.fixture
def proxy(cluster):
    between = Proxy(cluster)
    yield between
    between.close()
