"""A process learns of the end of another one, from the connection that the system closes."""

import subprocess
import sys
import textwrap
import threading

import pytest

from isosweep.runtime.interrupts import RunPreempted
from isosweep.runtime.lifeline import Lifeline, ProcessLost
from isosweep.runtime.ranks import Place, place

OTHER = """
    import os, sys
    from isosweep.runtime.lifeline import Lifeline
    line = Lifeline(1, 2, lambda error: os._exit(7))
    line.connect("localhost", int(sys.argv[1]))
    sys.stdin.readline()
    {end}
"""


def other(line: Lifeline, end: str) -> subprocess.Popen[str]:
    """Process 1, which ends as ``end`` says once it is sent a line."""
    code = textwrap.dedent(OTHER).format(end=end)
    started = subprocess.Popen(
        [sys.executable, "-c", code, str(line.listen())], stdin=subprocess.PIPE, text=True
    )
    line.accept()
    return started


@pytest.mark.parametrize(
    ("end", "kind", "words"),
    [
        ("os.kill(os.getpid(), 9)", ProcessLost, "has ended without a word (killed, or its machine had"),
        ("line.close('no GPU 3')", ProcessLost, "has ended: no GPU 3. The same command goes on"),
        ("line.stopped()", RunPreempted, "was asked to stop"),
    ],
)
def test_the_end_of_a_process_is_noticed_and_named(end: str, kind: type, words: str) -> None:
    line = Lifeline(0, 2, lambda error: None)
    process = other(line, end)
    assert line.lost() is None
    process.communicate("\n", timeout=60)
    found = line.lost(30.0)
    assert type(found) is kind
    assert f"process 1 of 2 (pid {process.pid} on " in str(found)
    assert words in str(found)


def test_a_process_that_has_said_goodbye_is_not_lost() -> None:
    line = Lifeline(0, 2, lambda error: pytest.fail("lost"), grace_s=0.0)
    other(line, "line.close()").communicate("\n", timeout=60)
    assert line.lost(0.5) is None


def test_a_main_thread_that_does_not_notice_is_ended_and_one_that_does_is_not() -> None:
    ended = threading.Event()
    line = Lifeline(0, 2, lambda error: ended.set(), grace_s=0.2)
    other(line, "os._exit(1)").communicate("\n", timeout=60)
    assert ended.wait(30.0), "a sum on a card waits for ever"
    heeded = threading.Event()
    line = Lifeline(0, 2, lambda error: heeded.set(), grace_s=1.0)
    other(line, "os._exit(1)").communicate("\n", timeout=60)
    assert line.lost(30.0) is not None
    assert not heeded.wait(1.5), "it saves and ends by itself"


def test_the_others_end_with_the_first() -> None:
    line = Lifeline(0, 2, lambda error: None)
    process = other(line, "import time; line.grace_s = 0.1; time.sleep(60)")
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    line.close("no such scene")
    for peer in line._peers:
        peer.shutdown(2)
    assert process.wait(60) == 7


def test_the_place_of_a_process_is_torchruns() -> None:
    given = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "n1", "MASTER_PORT": "29500"}
    assert place({}) == Place(0, 1, 0, 1)
    assert place({}).leads
    assert place(given) == Place(3, 4, 1, 4, 4)
    assert place({**given, "LOCAL_WORLD_SIZE": "2"}) == Place(3, 4, 1, 2, 2)
    assert place({**given, "SLURM_NTASKS": "4"}).sharers == 1
    assert not place(given).leads
    assert place({"RANK": "3", "WORLD_SIZE": "4"}) == Place(), "another program's variables"
