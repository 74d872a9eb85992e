"""Processes that Lambda restores from one snapshot are copies of each other; here two copies are made by fork."""

import ast
import os
import subprocess
import sys

import pytest

from tests.support.serving import ROOT

COPIES = """
import ctypes, json, os, random, ssl, sys

from service.cloud import snapshot

NEW_USER, NEW_PID = 0x10000000, 0x20000000
libc = ctypes.PyDLL(None)

def copy(ask):
    \"\"\"What `ask` returns in a copy of this process that has its number: nothing tells the copy that it is one.\"\"\"
    reading, writing = os.pipe()
    if (between := libc.fork()) == 0:
        if libc.unshare(NEW_PID | (NEW_USER if os.geteuid() else 0)):
            os._exit(1)
        if (last := libc.fork()) == 0:
            os.write(writing, json.dumps(ask()).encode())
            os._exit(0)
        libc.waitpid(last, None, 0)
        os._exit(0)
    os.close(writing)
    libc.waitpid(between, None, 0)
    told = os.read(reading, 10000)
    return json.loads(told) if told else None

def drawn():
    return [os.getpid(), random.random(), ssl.RAND_bytes(8).hex()]

def restored():
    snapshot.after()
    return drawn()

def snapshotted():
    drawn()
    return [copy(drawn), copy(drawn), copy(restored), copy(restored)]

print(copy(snapshotted))
"""


def test_functions_restored_from_one_snapshot_draw_different_random_numbers() -> None:
    """Copies of a process that cannot know it, as its number is the same, draw the same ones without our hook."""
    done = subprocess.run([sys.executable, "-c", COPIES], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if (found := ast.literal_eval(done.stdout)) is None:
        assert os.geteuid(), done.stderr
        pytest.skip("no process may have a namespace of its own here")
    first, second, one, other = found
    assert first == second
    assert one[0] == other[0] == first[0]
    assert len({each[1] for each in found}) == len({each[2] for each in found}) == 3
