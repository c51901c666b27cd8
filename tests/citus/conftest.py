"""The database of these tests is one of Citus."""

import pytest

from harness.citus import Citus, require


@pytest.fixture(scope="session")
def citus(cluster):
    require(cluster)
    servers = Citus()
    yield servers
    servers.remove()


@pytest.fixture
def db(citus):
    yield citus.db
    citus.wait_settled()
    citus.empty()
