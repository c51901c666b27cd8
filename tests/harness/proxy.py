"""A proxy on a Unix socket that loses connections the way networks do.

A cut ends the client's side at once. The server's side can be kept open, so
that the backend notices nothing and goes on with what it has been told.
"""

import os
import shutil
import socket
import tempfile
import threading

from harness.cluster import PORT

TO_SERVER, TO_CLIENT = "to server", "to client"


class Link:
    """One client's connection and the connection made for it."""

    def __init__(self, client, server):
        self.client, self.server = client, server
        self.passed = {TO_SERVER: 0, TO_CLIENT: 0}
        self.is_cut = False
        self._lock = threading.Lock()

    def cut(self, keep_server):
        with self._lock:
            if not self.is_cut:
                self.is_cut = True
                _close(self.client)
            if not keep_server:
                _close(self.server)


def _close(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    end.close()


class Proxy:
    """Stands before a cluster's socket; host is what goes into a URL.

    rule(direction, data, passed), when set, sees every piece before it is
    passed on, and how many bytes of that direction of that connection came
    before it. It returns None to pass it on, or how many of its bytes to pass
    before the connection is cut.

    rewrite(direction, data), when set, returns what to pass on instead.

    watch(link, direction, data), when set, sees every piece before the others.
    """

    def __init__(self, cluster):
        self._upstream = cluster.socket_path()
        self.host = tempfile.mkdtemp(prefix="luamig-proxy-", dir="/tmp")
        self.rule = None
        self.rewrite = None
        self.watch = None
        self.keep_server = False  # what a cut by the rule does
        self.cuts = 0
        self._refuses = False
        self._links = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.path.join(self.host, f".s.PGSQL.{PORT}"))
        self._listener.listen(50)
        _thread(self._accept)

    def lead_to(self, cluster):
        """Where connections that are made from now on end."""
        self._upstream = cluster.socket_path()

    def refuse(self):
        """Cuts everything, and turns connections away until accept()."""
        self._refuses = True
        self.cut()

    def accept(self):
        self._refuses = False

    def live(self):
        return [link for link in self._links if not link.is_cut]

    def cut(self, keep_server=False):
        """Cuts every live connection."""
        for link in self.live():
            self._cut(link, keep_server)

    def release(self):
        """Closes the server sides that were kept open."""
        for link in self._links:
            if link.is_cut:
                link.cut(keep_server=False)

    def close(self):
        _close(self._listener)
        for link in self._links:
            link.cut(keep_server=False)
        shutil.rmtree(self.host, ignore_errors=True)

    def _cut(self, link, keep_server):
        self.cuts += 1
        link.cut(keep_server)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refuses:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._upstream)
            except OSError:
                client.close()
                server.close()
                continue
            link = Link(client, server)
            self._links.append(link)
            _thread(self._pump, link, TO_SERVER)
            _thread(self._pump, link, TO_CLIENT)

    def _pump(self, link, direction):
        source, target = link.client, link.server
        if direction == TO_CLIENT:
            source, target = target, source
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if not link.is_cut:
                    self._pass(link, direction, data, target)
        except OSError:
            pass
        if not link.is_cut:  # one side has hung up: so does the other
            link.cut(keep_server=False)

    def _pass(self, link, direction, data, target):
        passed = link.passed[direction]
        if self.watch:
            self.watch(link, direction, data)
        if self.rewrite:
            data = self.rewrite(direction, data)
        allowed = self.rule and self.rule(direction, data, passed)
        if allowed is not None and allowed < len(data):
            if allowed > 0:
                target.sendall(data[:allowed])
            self._cut(link, self.keep_server)
            return
        target.sendall(data)
        link.passed[direction] = passed + len(data)


def _thread(target, *arguments):
    threading.Thread(target=target, args=arguments, daemon=True).start()
