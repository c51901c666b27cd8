"""Fixtures of every suite: one server a session, one database and one project
folder a test."""

import os

import pytest

from harness.cluster import Cluster
from harness.project import Project, binary
from harness.proxy import Proxy


def pytest_sessionstart():
    if not os.access(binary(), os.X_OK):
        pytest.exit(f"no luamig at {binary()}; build it or set LUAMIG_BIN", 2)


@pytest.fixture(scope="session")
def cluster():
    server = Cluster().start()
    yield server
    server.remove()


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
