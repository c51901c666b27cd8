"""What luamig check finds at the other end of a connection, and the warning of a
password that anybody on the way can read."""

import json
import os
import shutil
import socket
import subprocess

import pytest

from harness.cluster import GUARDED, PASSWORD, Cluster
from harness.pooler import Pooler
from harness.project import DONE

WARNING = "is not encrypted, and a password is used"
ONE_SHOT = "return { run = function() end }"


def own_address():
    """An address of this machine that is not a loopback one, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if address.startswith("127.") else address


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def certify(cluster):
    """A certificate that the server has signed itself."""
    certificate = os.path.join(cluster.data, "server.crt")
    key = os.path.join(cluster.data, "server.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days",
         "2", "-subj", "/CN=db", "-keyout", key, "-out", certificate],
        check=True, capture_output=True)
    os.chmod(key, 0o600)
    if os.geteuid() == 0:
        shutil.chown(key, "postgres", "postgres")
        shutil.chown(certificate, "postgres", "postgres")


@pytest.fixture(scope="module")
def remote():
    """A server on the network, with TLS and without."""
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback ones")
    server = Cluster(listen_addresses=f"{address},127.0.0.1", ssl="on",
                     port=str(free_port()))
    certify(server)
    with open(os.path.join(server.data, "pg_hba.conf"), "a",
              encoding="ascii") as hba:
        hba.write(f"host all {GUARDED} all scram-sha-256\n"
                  "host all all all trust\n")
    server.address = address
    server.start()
    yield server
    server.remove()


@pytest.fixture
def shop(remote, project):
    database = remote.make_database()
    database.admin(f'GRANT CREATE ON DATABASE "{database.name}" TO {GUARDED}')
    project.script(ONE_SHOT)
    yield database
    database.drop()


def url(shop, host, user=GUARDED, **more):
    if user == GUARDED:
        more["password"] = PASSWORD
    return shop.cluster.url(shop.name, user=user, host=host, **more)


def test_an_unencrypted_password_is_warned_of_once(shop, project, remote):
    there = url(shop, remote.address, sslmode="disable")
    result = project.run(url=there).expect(DONE, "sslmode=require")
    assert result.err.count(WARNING) == 1, result
    result.refuse(PASSWORD)
    project.luamig("status", url=there).expect(DONE, WARNING)

    project.write("luamig.lua", 'return { repos = { default = "%s", '
                  'twin = "%s" } }' % (there, there))
    both = project.run("--all-repos", url=None).expect(DONE)
    assert both.err.count(WARNING) == 1, both


@pytest.mark.parametrize("way", ["TLS", "loopback", "a Unix socket",
                                 "no password"])
def test_a_tls_or_local_connection_needs_no_warning(shop, project, remote, way):
    there = {
        "TLS": url(shop, remote.address, sslmode="require"),
        "loopback": url(shop, "127.0.0.1", sslmode="disable"),
        "a Unix socket": url(shop, remote.dir),
        "no password": url(shop, remote.address, user="app",
                           sslmode="disable"),
    }[way]
    project.run(url=there).expect(DONE).refuse(WARNING)


def check(project, there):
    return json.loads(
        project.luamig("check", "--json", url=there).expect(DONE).out)


def test_check_reports_how_the_connection_is_encrypted(shop, project, remote):
    shown = check(project, url(shop, remote.address))
    assert shown["encryption"].startswith("TLSv1.")
    shown = check(project, url(shop, remote.address, sslmode="disable"))
    assert shown["encryption"] is None


@pytest.mark.versions
def test_check_refuses_a_standby_and_accepts_a_primary(cluster, db, project):
    standby = cluster.standby(hot_standby="on").start()
    try:
        cluster.wait_caught_up(standby)
        shown = check(project, standby.url(db.name))
        assert shown["standby"] is True
        assert check(project, db.url)["standby"] is False
    finally:
        standby.remove()


def test_check_reports_a_pooler(cluster, db, project):
    pooler = Pooler(cluster, "transaction")
    try:
        shown = check(project, pooler.url(db.name))
        assert shown["pooler"] is True and shown["role"] == "app"
    finally:
        pooler.close()
