"""What a Python process of its own answers: it prints JSON behind a line of ``===``."""

import json
import subprocess
import sys

from tests.eventually import PATIENCE_S


def answer_of(environment, *arguments):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rpartition("\n===\n")[2])
