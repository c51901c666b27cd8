"""PgBouncer before a cluster, as its package installs it: nothing is asked of
it beyond a socket, the databases and the pool mode."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile

from harness.cluster import PORT
from harness.wait import wait_until

INI = """\
[databases]
* = host={upstream} port={port}
[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {dir}
auth_type = trust
auth_file = {dir}/users
pool_mode = {mode}
default_pool_size = {size}
logfile = {dir}/log
admin_users = app
"""


def program():
    found = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
    assert found, "pgbouncer is not installed"
    return found


class Pooler:
    """url() and socket_path() of it work like Cluster's."""

    def __init__(self, cluster, mode, size=5):
        self.cluster = cluster
        self.dir = tempfile.mkdtemp(prefix="luamig-bouncer-", dir="/tmp")
        ini = os.path.join(self.dir, "ini")
        with open(ini, "w") as file:
            file.write(INI.format(upstream=cluster.dir, port=PORT, mode=mode,
                                  size=size, dir=self.dir))
        with open(os.path.join(self.dir, "users"), "w") as file:
            file.write('"app" ""\n"postgres" ""\n')
        user = {}
        if os.geteuid() == 0:  # it refuses to run as root
            for path, _, files in os.walk(self.dir):
                for name in [path, *(os.path.join(path, f) for f in files)]:
                    shutil.chown(name, "postgres", "postgres")
            user = {"user": "postgres", "group": "postgres",
                    "extra_groups": []}
        os.chmod(self.dir, 0o755)
        self._process = subprocess.Popen([program(), "-q", ini], cwd="/",
                                         stdin=subprocess.DEVNULL, **user)
        wait_until(self._listens, "PgBouncer to start")

    def url(self, dbname):
        return self.cluster.url(dbname, host=self.dir)

    def socket_path(self):
        return os.path.join(self.dir, f".s.PGSQL.{PORT}")

    def connect(self, dbname, user="app"):
        return self.cluster.connect(dbname, user=user, host=self.dir)

    def close(self):
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _listens(self):
        assert self._process.poll() is None, "PgBouncer has ended"
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(self.socket_path()) == 0
