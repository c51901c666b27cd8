"""luamig on a terminal, as a person would have it."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading

from harness.project import binary, clean_environment


class Terminal:
    """A luamig whose controlling terminal this is."""

    def __init__(self, project, *arguments, env=None, columns=0):
        self.master, slave = pty.openpty()
        if columns:
            fcntl.ioctl(slave, termios.TIOCSWINSZ,
                        struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            [binary(), *arguments], stdin=slave, stdout=slave, stderr=slave,
            cwd=project.path, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**clean_environment(), "TERM": "xterm", **(env or {})})
        os.close(slave)

    def close(self):
        """What closing the window does."""
        os.close(self.master)

    def read_to_the_end(self):
        """Exit code and all that was shown."""
        shown = []

        def read():
            try:
                while piece := os.read(self.master, 65536):
                    shown.append(piece)
            except OSError:  # how Linux says that nobody writes any more
                pass

        reader = threading.Thread(target=read)
        reader.start()
        code = self.process.wait(60)
        reader.join(10)
        self.close()
        return code, b"".join(shown).decode()


def at_a_terminal(project, *arguments, **options):
    return Terminal(project, *arguments, **options).read_to_the_end()
