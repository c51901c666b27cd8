"""Waiting for something to come true, with a limit that only bounds a hang."""

import time


def wait_until(true, what, timeout=60, pause=0.01):
    """Returns the first true value of true(); fails naming what never came."""
    end = time.monotonic() + timeout
    while True:
        value = true()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s in vain: {what}")
        time.sleep(pause)
