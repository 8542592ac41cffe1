"""What was freed goes back to the system."""

import os
import platform
import re
import subprocess
import sys

import pytest

PROGRAM = """
import re, sys
from pathlib import Path
from clipfarm_tasks.storage.one_heap import give_back
def resident():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
small = [bytes(4000) for _ in range(50_000)]  # 200 MB, each too small for a mapping of its own
keep = small[-1]
full = resident()
del small[:-1]
freed = resident()
give_back()
print(full, freed, resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is resident is read from /proc")
def test_freed_memory_is_given_back(repository):
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=repository, capture_output=True, text=True, check=True)
    full, freed, left = map(int, re.findall(r"\d+", done.stdout))
    assert full - left > 150, done.stdout
    assert freed - left > 100, done.stdout


only_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives threads heaps of their own")
THREADS = """
import re, sys, threading
from pathlib import Path
from clipfarm_tasks.config import Settings
from clipfarm_tasks.storage.one_heap import give_back
from clipfarm_tasks.storage import open_store
def resident():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
if sys.argv[1] == "opened":
    open_store(Settings(bucket="none"))
bytes(30 * 2**20)  # glibc takes its size as a hint of how much to keep
before, filled = resident(), threading.Barrier(4)
def work():
    small = [bytes(4000) for _ in range(12_000)]  # 48 MB
    filled.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
give_back()
print(resident() - before)
"""


@pytest.fixture
def left(repository):
    """MB that threads leave behind in a process that has opened a store or not, with further environment."""
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    environment |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}

    def left(store, **further):
        command = [sys.executable, "-c", THREADS, store]
        done = subprocess.run(
            command, cwd=repository, env=environment | further, capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    return left


@only_glibc
def test_memory_that_threads_freed_is_given_back_once_a_store_is_open(left):
    assert left("opened") < left("none") / 2


@only_glibc
def test_the_number_of_heaps_that_an_operator_asks_for_stands(left):
    asked = left("opened", MALLOC_ARENA_MAX="8")
    assert asked > 2 * left("opened")
    assert asked > 2 * left("opened", MALLOC_ARENA_MAX="1")
