"""What each client's script has at hand: where the server is, and how it says what passes."""

import contextlib
import json
import os
import time

HOST = os.environ["TB_HOST"]
TOKEN = os.environ["TB_TOKEN"]


class Passes:
    """`with passes("events"):` prints a line for the test that runs the script, once the block has ended well."""

    def client(self, name, version):
        print(json.dumps({"client": name, "version": version}), flush=True)

    @contextlib.contextmanager
    def __call__(self, what):
        yield
        print(json.dumps({"passes": what}), flush=True)


passes = Passes()


def the_error(kind, action):
    try:
        action()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def until(condition, seconds=60):
    """What a client does not wait for itself: events that it sent without waiting for the insert."""
    end = time.monotonic() + seconds
    while not (seen := condition()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)
    return seen
