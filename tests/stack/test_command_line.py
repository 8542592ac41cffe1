import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from typer.testing import CliRunner

from clipfarm_tasks.stack import __main__ as command_line
from clipfarm_tasks.stack.errors import StackError
from clipfarm_tasks.stack.interrupts import Interrupted, interruptible
from clipfarm_tasks.stack.state_folder import claimed
from tests.eventually import PATIENCE_S

HOLD = """
import sys, time
from pathlib import Path
from clipfarm_tasks.stack import __main__ as command_line

def hold(*_):
    try:
        print("holding", flush=True)
        time.sleep(60)
    finally:
        time.sleep(0.5)  # further signals arrive in here
        print("released", flush=True)

command_line.demo_command.demo = command_line.up_command.up = hold
command_line.app([sys.argv[1], "--state", sys.argv[2]])
"""


@pytest.mark.parametrize(
    ("command", "number", "exit_code"),
    [("demo", signal.SIGINT, 130), ("demo", signal.SIGTERM, 143), ("up", signal.SIGINT, 0)],
)
def test_a_signal_lets_the_servers_stop_undisturbed(tmp_path, repository, command, number, exit_code):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, command, str(tmp_path / "state")],
        cwd=repository,
        env=os.environ | {"PYTHONPATH": str(repository)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "holding\n"
    process.send_signal(number)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (exit_code, "released\n"), err
    assert err.startswith(f"{number.name}: stopped")


def test_an_error_is_one_sentence_and_an_exit_status(tmp_path, monkeypatch):
    def fail(folder, console, videos, stalled_after_s):
        raise StackError("task gate failed at try 1:\nDataError: no rows")

    monkeypatch.setattr(command_line.demo_command, "demo", fail)
    result = CliRunner().invoke(command_line.app, ["demo", "--state", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr == "error: task gate failed at try 1:\nDataError: no rows\n"


def test_options_reach_the_demo(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(
        command_line.demo_command,
        "demo",
        lambda folder, console, videos, stalled_after_s: given.update(
            folder=folder, videos=videos, limit=stalled_after_s
        ),
    )
    arguments = ["demo", "--state", str(tmp_path / "s"), "--videos", "300", "--minutes", "2"]
    assert CliRunner().invoke(command_line.app, arguments).exit_code == 0
    assert given == {"folder": (tmp_path / "s").resolve(), "videos": 300, "limit": 120.0}


def test_a_folder_is_used_by_one_command_at_a_time(tmp_path):
    with (
        claimed(tmp_path, fresh=False),
        pytest.raises(StackError, match=f"expected no other process in {re.escape(str(tmp_path))}, got one that still"),
        claimed(tmp_path, fresh=True),
    ):
        pytest.fail("claimed twice")


def test_a_fresh_folder_is_empty_and_a_kept_one_is_not(tmp_path):
    (tmp_path / "s3").mkdir()
    (tmp_path / "s3" / "data").touch()
    with claimed(tmp_path, fresh=False) as folder:
        assert (folder / "s3" / "data").exists()
    with claimed(tmp_path, fresh=True) as folder:
        assert [item.name for item in folder.iterdir()] == ["lock"]


def test_signals_that_arrive_together_interrupt_once():
    seen = []
    with pytest.raises(Interrupted), interruptible():
        two_signals_at_once(seen)
    assert seen == ["stopping", "stopped"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def two_signals_at_once(seen):
    both = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, both)
    for number in both:
        signal.pthread_kill(threading.get_ident(), number)  # of the process, another thread would take it at once
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
        time.sleep(10)
    finally:
        seen.append("stopping")
        time.sleep(0.05)
        seen.append("stopped")
