"""SIGTERM ends a container's first process, which the kernel would let ignore it."""

import signal
import subprocess
import sys

import pytest

WAITS = """
import os, sys, threading, time
os.getpid = lambda: int(sys.argv[1])
from clipfarm_tasks.cli.first_process import end_on_sigterm
end_on_sigterm()
threading.Thread(target=time.sleep, args=(60,)).start()  # as requests under way would
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("pid", "code"), [(1, 143), (7, -signal.SIGTERM)])
def test_sigterm_ends_at_once(repository, pid, code):
    with subprocess.Popen(
        [sys.executable, "-c", WAITS, str(pid)], cwd=repository, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(10) == code
