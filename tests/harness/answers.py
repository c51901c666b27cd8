"""A proxy that spoils one of the server's answers.

It reads both directions as PostgreSQL's protocol, so that it knows which
statement an answer belongs to. An answer is named by its statement and by how
often that statement has been answered before: other connections may come in
between.
"""

import collections
import os
import re
import shutil
import socket
import struct
import tempfile
import threading

from harness.cluster import PORT

# What is done to an answer as a whole, and to the numbers of a column.
WHOLE = ("no rows", "no rows, and counted so")
OF_NUMBERS = ("garbled", "cut")
NUMBER = re.compile(rb"-?\d+(\.\d+)?")

Answer = collections.namedtuple("Answer", "sql nth columns rows first")
Spoil = collections.namedtuple("Spoil", "sql nth how column")


def spoils_of(answers):
    """Everything that can be done to what was answered."""
    for one in answers:
        if one.rows > 0:
            for how in WHOLE:
                yield Spoil(one.sql, one.nth, how, None)
        if one.rows > 1:
            yield Spoil(one.sql, one.nth, "not the first row", None)
        for column in range(one.columns):
            yield Spoil(one.sql, one.nth, "no column", column)
            if one.rows == 0:
                continue
            value = one.first[column]
            if value is not None:
                yield Spoil(one.sql, one.nth, "null", column)
            if value:
                yield Spoil(one.sql, one.nth, "empty", column)
            if value and NUMBER.fullmatch(value):
                for how in OF_NUMBERS:
                    yield Spoil(one.sql, one.nth, how, column)


# -- messages ----------------------------------------------------------------

def message(kind, body):
    return kind + struct.pack("!I", len(body) + 4) + body


def fields_of(body):
    """The columns of a RowDescription, as they stand."""
    count = struct.unpack_from("!H", body)[0]
    at, fields = 2, []
    for _ in range(count):
        end = body.index(b"\0", at) + 1 + 18
        fields.append(body[at:end])
        at = end
    return fields


def description(fields):
    return struct.pack("!H", len(fields)) + b"".join(fields)


def values_of(body):
    count = struct.unpack_from("!H", body)[0]
    at, values = 2, []
    for _ in range(count):
        length = struct.unpack_from("!i", body, at)[0]
        at += 4
        values.append(None if length < 0 else body[at:at + length])
        at += max(length, 0)
    return values


def row(values):
    return struct.pack("!H", len(values)) + b"".join(
        struct.pack("!i", -1) if value is None
        else struct.pack("!i", len(value)) + value for value in values)


def text_at(body, at):
    end = body.index(b"\0", at)
    return body[at:end].decode(errors="replace"), end + 1


def spoiled(how, value):
    if value is None:
        return None
    return {"null": None, "empty": b"", "garbled": value[:1] + b"x" + value[1:],
            "cut": value[:-1]}[how]


# -- one connection ----------------------------------------------------------

class Conversation:
    """What is in flight on one connection."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.statements = {}
        self.portal = None
        self.expected = collections.deque()
        self.begun = False
        self.fields, self.rows, self.first = 0, 0, None
        self.spoil = None

    def from_client(self, kind, body):
        if kind == b"P":
            name, at = text_at(body, 0)
            self.statements[name], _ = text_at(body, at)
        elif kind == b"B":
            _, at = text_at(body, 0)
            name, _ = text_at(body, at)
            self.portal = self.statements.get(name, "?")
        elif kind == b"D" and body[:1] == b"S":
            self.expected.append(("describe", None))
        elif kind == b"E":
            self.expected.append(("answer", self.portal))
        elif kind == b"S":
            self.expected.append(("sync", None))
        elif kind == b"Q":
            self.expected.append(("script", None))
            self.expected.append(("sync", None))

    def _begin(self):
        """The answer that comes is that of the oldest statement."""
        if self.begun or not self.expected or self.expected[0][0] != "answer":
            return
        self.begun = True
        self.fields, self.rows, self.first = 0, 0, None
        self.sql = self.expected[0][1]
        self.nth, self.spoil = self.proxy.next_answer(self.sql)

    def _end(self):
        if self.expected and self.expected[0][0] != "sync":
            self.expected.popleft()
        self.begun, self.spoil = False, None

    def from_server(self, kind, body):
        """What to pass on."""
        head = self.expected[0][0] if self.expected else None
        if kind in (b"T", b"n") and head == "describe":
            self.expected.popleft()
        elif kind in (b"T", b"D", b"C", b"n") and head == "answer":
            return self._answer(kind, body)
        elif kind == b"E":
            while self.expected and self.expected[0][0] != "sync":
                self.expected.popleft()
            self.begun, self.spoil = False, None
        elif kind == b"Z":
            while self.expected and self.expected[0][0] != "sync":
                self.expected.popleft()
            if self.expected:
                self.expected.popleft()
        return message(kind, body)

    def _answer(self, kind, body):
        self._begin()
        spoil = self.spoil
        if kind == b"T":
            fields = fields_of(body)
            self.fields = len(fields)
            if spoil and spoil.how == "no column":
                fields.pop(spoil.column)
            return message(kind, description(fields))
        if kind == b"D":
            return self._row(body)
        if kind == b"C":
            self.proxy.note(Answer(self.sql, self.nth, self.fields, self.rows,
                                   self.first))
            self._end()
            if spoil and spoil.how == "no rows, and counted so":
                body = re.sub(rb"\d+\0$", b"0\0", body)
        return message(kind, body)

    def _row(self, body):
        values = values_of(body)
        self.rows += 1
        if self.rows == 1:
            self.first = values
        if self.spoil is None:
            return message(b"D", body)
        how, column = self.spoil.how, self.spoil.column
        if how in WHOLE or (how == "not the first row" and self.rows == 1):
            return b""
        if how == "no column":
            values = values[:column] + values[column + 1:]
        elif column is not None:
            values[column] = spoiled(how, values[column])
        return message(b"D", row(values))


# -- the proxy ---------------------------------------------------------------

class Spoiler:
    """Stands before a cluster's socket; host is what goes into a URL."""

    def __init__(self, cluster):
        self._upstream = cluster.socket_path()
        self.host = tempfile.mkdtemp(prefix="luamig-spoil-", dir="/tmp")
        self._lock = threading.Lock()
        self.begin(None)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.path.join(self.host, f".s.PGSQL.{PORT}"))
        self._listener.listen(50)
        threading.Thread(target=self._accept, daemon=True).start()

    def begin(self, spoil):
        """A new conversation, of which one answer is spoilt, or none."""
        with self._lock:
            self.spoil, self.answers, self.happened = spoil, [], False
            self._seen = collections.Counter()

    def next_answer(self, sql):
        with self._lock:
            nth = self._seen[sql]
            self._seen[sql] += 1
            spoil = self.spoil
            if spoil and (sql, nth) == (spoil.sql, spoil.nth):
                self.happened = True
                return nth, spoil
            return nth, None

    def note(self, answer):
        with self._lock:
            self.answers.append(answer)

    def close(self):
        self._listener.close()
        shutil.rmtree(self.host, ignore_errors=True)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._upstream)
            conversation = Conversation(self)
            for source, target, read in (
                    (client, server, self._requests),
                    (server, client, self._answers)):
                threading.Thread(target=self._pump, daemon=True, args=(
                    source, target, read(conversation))).start()

    @staticmethod
    def _pump(source, target, reader):
        """Passes on what the reader makes of what has come."""
        next(reader)
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                target.sendall(reader.send(data))
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @staticmethod
    def _requests(conversation):
        buffer, is_first, out = b"", True, b""
        while True:
            buffer += yield out
            out = b""
            while len(buffer) >= (4 if is_first else 5):
                at = 0 if is_first else 1
                length = at + struct.unpack_from("!I", buffer, at)[0]
                if len(buffer) < length:
                    break
                if not is_first:
                    conversation.from_client(buffer[:1], buffer[5:length])
                is_first = False
                out += buffer[:length]
                buffer = buffer[length:]

    @staticmethod
    def _answers(conversation):
        buffer, out = b"", b""
        while True:
            buffer += yield out
            out = b""
            while len(buffer) >= 5:
                length = 1 + struct.unpack_from("!I", buffer, 1)[0]
                if len(buffer) < length:
                    break
                out += conversation.from_server(buffer[:1], buffer[5:length])
                buffer = buffer[length:]
