"""What was freed goes back to the system."""

import re
import subprocess
import sys

import pytest

PROGRAM = """
import re, sys
from pathlib import Path
from clipfarm_tasks.memory import give_back
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
