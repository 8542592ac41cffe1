"""A pod's log, whole, followed, since a time, refused."""

import re
from datetime import UTC, datetime

from tests.kubernetes.behaviours import (
    image_pull_back_off,
    log_error,
    log_gone,
    pending_forever,
)
from tests.kubernetes.pods import NAMESPACE, log, log_refusal


def until(file, then=""):
    """A command that does nothing until there is a file: a test that looks late finds it in the same state."""
    return f"import os, time\nwhile not os.path.exists({str(file)!r}): time.sleep(0.01)\n{then}"


def test_a_log_is_followed_to_the_end_with_times(api, core, create, tmp_path):
    began = datetime.now(UTC)
    create(code=until(tmp_path / "go", then="for n in range(3): print(n); time.sleep(0.05)"))
    api.wait_for("job", "Running")
    (tmp_path / "go").touch()
    response = core.read_namespaced_pod_log("job", NAMESPACE, follow=True, timestamps=True, _preload_content=False)
    lines = b"".join(response.stream()).decode().splitlines()
    assert [line.split(" ")[1] for line in lines] == ["0", "1", "2"]
    stamps = [line.split(" ")[0] for line in lines]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", stamp) for stamp in stamps)
    times = [datetime.fromisoformat(stamp[:26] + "+00:00") for stamp in stamps]
    assert began <= times[0] < times[1] < times[2] <= datetime.now(UTC)
    assert log(core, tail_lines=1) == "2\n"


def test_a_log_is_read_since(api, core, create):
    create(code="import time; print('old'); time.sleep(5.2); print('new')")
    api.wait_for("job", "Succeeded")
    assert log(core, since_seconds=4) == log(core, since_seconds=4, follow=True) == "new\n"
    assert log(core, since_seconds=60) == "old\nnew\n"


def test_a_log_is_refused_before_the_start_and_for_what_does_not_exist(api, core, create):
    api.behave(pending_forever, image_pull_back_off)
    create()
    assert log_refusal(core) == 400
    core.delete_namespaced_pod("job", NAMESPACE)
    assert log_refusal(core) == 404
    create()
    assert log_refusal(core) == 400
    core.delete_namespaced_pod("job", NAMESPACE)
    api.wait_for("job", None)
    create()
    api.wait_for("job", "Succeeded")
    assert log_refusal(core, container="sidecar") == 400
    assert log_refusal(core, previous=True) == 400


def test_long_lines_and_broken_characters_pass(api, core, create):
    create(code="import os; os.write(1, b'x' * 300_000 + b'\\n\\xff\\n\\nlast')")
    api.wait_for("job", "Succeeded")
    response = core.read_namespaced_pod_log("job", NAMESPACE, _preload_content=False)
    assert response.data == b"x" * 300_000 + b"\n\xff\n\nlast\n"


def test_a_log_that_cannot_be_read_or_is_gone(api, core, create, tmp_path):
    api.behave(log_error, log_gone)
    create(code=until(tmp_path / "first"))
    api.wait_for("job", "Running")
    assert log_refusal(core) == 500
    (tmp_path / "first").touch()
    api.wait_for("job", "Succeeded")
    assert log_refusal(core) == 500
    core.delete_namespaced_pod("job", NAMESPACE)
    create(code=f"print('up'); {until(tmp_path / 'second')}")
    api.wait_for("job", "Running", log="up")
    assert log(core) == "up\n"
    (tmp_path / "second").touch()
    api.wait_for("job", "Succeeded")
    assert log_refusal(core) == 404
