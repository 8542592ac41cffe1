import sys

import psutil
import pytest

from clipfarm_tasks.stack.errors import StackError
from clipfarm_tasks.stack.process import ServerProcess, stop
from tests.eventually import PATIENCE_S, eventually

SLEEP = "import time; time.sleep(60)"
# A parent whose child is in a process group of its own, and which exits at once on SIGTERM without stopping it.
STRAY = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {SLEEP!r}], process_group=0)
time.sleep(60)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


@pytest.fixture
def start(tmp_path):
    started = []

    def run(code):
        server = ServerProcess("the test server", [sys.executable, "-c", code], {}, tmp_path / "log" / "server.log")
        started.append(server)
        return server

    yield run
    stop(started, grace_s=0)


def test_stop_ends_a_process(start):
    server = start(SLEEP)
    server.require_running()
    stop([server], grace_s=PATIENCE_S)
    assert server.exit_code() is not None
    assert not psutil.pid_exists(server.pid)


def test_stop_ends_descendants_in_their_own_process_group(start):
    server = start(STRAY)
    eventually(lambda: len(server.members()) == 2)
    members = server.members()
    stop([server], grace_s=1)
    assert not [member for member in members if member.is_running()]


def test_a_descendant_whose_parent_died_is_still_found_and_stopped(start):
    server = start(STRAY)
    eventually(lambda: len(server.members()) == 2)
    psutil.Process(server.pid).kill()
    assert server.reap(PATIENCE_S)
    assert len(server.members()) == 1
    stop([server], grace_s=0)
    assert not server.members()


def test_what_ignores_sigterm_is_killed_after_the_grace(start):
    server = start(DEAF)
    eventually(lambda: "deaf" in server.log.read_text())
    stop([server], grace_s=0.5)
    assert server.exit_code() == -9


def test_an_early_end_is_reported_with_the_end_of_the_log(start):
    server = start("print('first'); print('no disk left'); raise SystemExit(3)")
    eventually(lambda: server.exit_code() is not None)
    with pytest.raises(
        StackError, match=r"expected the test server to keep running, got exit status 3; .*:\n  first\n  no disk left"
    ):
        server.require_running()


def test_a_failed_command_is_reported_with_the_end_of_the_log(start):
    server = start("raise SystemExit('no such table')")
    with pytest.raises(
        StackError, match=r"expected the test server to succeed, got exit status 1; .*\n.*no such table"
    ):
        server.wait(PATIENCE_S)


def test_a_command_that_takes_too_long_is_reported(start):
    with pytest.raises(StackError, match=r"expected the test server to finish within 0\.1 s, got no end"):
        start(SLEEP).wait(0.1)


def test_a_missing_program_is_named_with_advice(tmp_path):
    missing = str(tmp_path / "weed")
    with pytest.raises(StackError, match=r"expected the program of it at .*weed, got: No such file.*make install"):
        ServerProcess("it", [missing], {}, tmp_path / "log")
