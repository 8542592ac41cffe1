"""Publishing: killed at any request, raced by anybody, there is exactly one complete snapshot or none."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Family, Horizon, Strategy
from clipfarm_tasks.storage import open_store
from clipfarm_tasks.storage.snapshot import finish, publish
from clipfarm_tasks.storage.success_marker import FileEntry, Marker, read_marker
from tests.eventually import PATIENCE_S
from tests.faulty_s3 import FaultyS3

pytestmark = pytest.mark.integration

RUN = "run-1"
PREFIX = keys.job_snapshot(RUN, Family.RIDGE, Strategy.CONCAT, Horizon.D7)
COMMIT = keys.commit(PREFIX, RUN)
DIGEST = "d" * 64
NAMES = ("config_used.json", "models/ridge.joblib", "predictions/test.parquet", "predictions/val.parquet")
PUBLISHER = """
import sys
from pathlib import Path
from clipfarm_tasks.config import Settings
from clipfarm_tasks.storage.snapshot import publish
from clipfarm_tasks.storage import open_store
run, prefix, digest, folder = sys.argv[1:]
store = open_store(Settings.from_environment())
print("ready", flush=True)
sys.stdin.readline()
print(publish(store, run, prefix, digest, Path(folder)).sha256, flush=True)
"""


def folder_of(tmp_path, author):
    folder = tmp_path / author
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name} by {author} " + author * 1_000)
    return folder


def published_by(store):
    """The author of the snapshot, after checking that it is one, whole, and all that was left."""
    marker = read_marker(store, PREFIX, DIGEST)
    found = {info.key.removeprefix(PREFIX): store.get(info.key) for info in store.list(PREFIX)}
    assert found.keys() == {*NAMES, keys.SUCCESS}
    assert json.loads(found.pop(keys.SUCCESS)) == marker.model_dump(mode="json")
    assert {name: FileEntry.of(body) for name, body in found.items()} == marker.files
    assert store.list(keys.staging_area(PREFIX, RUN)) == []
    [author] = {body.split()[2] for body in found.values()}
    return author.decode()


@pytest.fixture
def proxy(s3_server):
    with FaultyS3(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def watched(proxy, bucket, s3_session):
    """The test's bucket through the proxy."""
    return open_store(bucket.model_copy(update={"endpoint_url": proxy.endpoint_url}), s3_session)


@pytest.fixture
def start(bucket, s3_server, repository, tmp_path):
    """Start a process that waits for a line and then publishes."""
    processes = []

    def start(author, endpoint_url):
        folder = folder_of(tmp_path, author)
        environment = os.environ | s3_server.environment()
        environment |= {"CLIPFARM_BUCKET": bucket.bucket, "AWS_ENDPOINT_URL": endpoint_url}
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, RUN, PREFIX, DIGEST, str(folder)],
            cwd=repository,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_snapshot_holds_every_file_and_says_what_they_are(store, tmp_path):
    assert read_marker(store, PREFIX, DIGEST) is None
    assert finish(store, RUN, PREFIX, DIGEST) is None
    marker = publish(store, RUN, PREFIX, DIGEST, folder_of(tmp_path, "a"))
    assert published_by(store) == "a"
    assert marker == read_marker(store, PREFIX, DIGEST) == finish(store, RUN, PREFIX, DIGEST)
    assert (marker.digest, set(marker.files)) == (DIGEST, set(NAMES))


def test_publishing_again_writes_nothing(watched, proxy, tmp_path):
    first = publish(watched, RUN, PREFIX, DIGEST, folder_of(tmp_path, "a"))
    proxy.log.clear()
    assert publish(watched, RUN, PREFIX, DIGEST, folder_of(tmp_path, "b")) == first
    assert {request.method for request in proxy.log} == {"GET"}
    assert published_by(watched) == "a"


def test_another_digest_is_refused_and_changes_nothing(store, tmp_path):
    publish(store, RUN, PREFIX, DIGEST, folder_of(tmp_path, "a"))
    before = store.list("clipfarm/")
    for call in (
        lambda: publish(store, RUN, PREFIX, "e" * 64, folder_of(tmp_path, "b")),
        lambda: finish(store, RUN, PREFIX, "e" * 64),
        lambda: read_marker(store, PREFIX, "e" * 64),
    ):
        with pytest.raises(DataError, match=rf"expected config digest e+, got d+, in s3://.*{PREFIX}_SUCCESS: .*never"):
            call()
    assert store.list("clipfarm/") == before
    assert published_by(store) == "a"


def test_another_digest_is_refused_by_a_commit_that_is_not_finished(store, tmp_path):
    store.create(COMMIT, Marker(digest=DIGEST, attempt="x", files={}).body())
    with pytest.raises(DataError, match=rf"expected config digest e+, got d+, in s3://.*{COMMIT}"):
        publish(store, RUN, PREFIX, "e" * 64, folder_of(tmp_path, "b"))
    assert store.list(PREFIX) == []


def test_a_marker_that_is_none_is_named(store):
    store.put(f"{PREFIX}_SUCCESS", b"done")
    with pytest.raises(DataError, match=rf"expected a valid Marker, got text: .*, in s3://.*{PREFIX}_SUCCESS"):
        finish(store, RUN, PREFIX, DIGEST)


def test_a_commit_whose_files_were_removed_by_hand_says_how_to_go_on(store, tmp_path):
    files = {name: FileEntry.of(b"") for name in NAMES}
    store.create(COMMIT, Marker(digest=DIGEST, attempt="gone", files=files).body())
    with pytest.raises(
        DataError, match=rf"expected the staged files of attempt gone, got none at .*delete s3.*{COMMIT}"
    ):
        publish(store, RUN, PREFIX, DIGEST, folder_of(tmp_path, "a"))
    assert read_marker(store, PREFIX, DIGEST) is None
    store.delete([COMMIT])
    publish(store, RUN, PREFIX, DIGEST, folder_of(tmp_path, "a"))
    assert published_by(store) == "a"


def is_stage(request, stage):
    copy = "x-amz-copy-source" in request.headers
    return (
        request.method in {"PUT", "POST"}
        and {
            "upload": "/staging/" in request.key and not copy,
            "commit": request.key == COMMIT,
            "copy": copy,
            "_SUCCESS": request.key == f"{PREFIX}_SUCCESS",
            "cleanup": request.method == "POST",
        }[stage]
    )


# Stage, how many of its requests are let through, whether the fatal one is, and whose files are published after all.
DEATHS = [
    ("upload", 0, False, "b"),
    ("upload", 2, True, "b"),
    ("commit", 0, False, "b"),
    ("commit", 0, True, "a"),
    ("copy", 0, False, "a"),
    ("copy", 2, True, "a"),
    ("_SUCCESS", 0, False, "a"),
    ("_SUCCESS", 0, True, "a"),
    ("cleanup", 0, False, "a"),
]


@pytest.mark.parametrize(("stage", "survived", "done", "author"), DEATHS)
def test_killed_at_any_request_the_next_one_finishes(store, proxy, start, tmp_path, stage, survived, done, author):
    process = start("a", proxy.endpoint_url)
    seen = []

    def kill(exchange):
        if done:
            exchange.ask()
        process.send_signal(signal.SIGKILL)
        process.wait()
        exchange.hang_up(reset=True)

    def rule(request):
        seen.extend([request] if is_stage(request, stage) else [])
        return kill if len(seen) > survived else None

    proxy.rule = rule
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.wait(PATIENCE_S) == -signal.SIGKILL
    marked = read_marker(store, PREFIX, DIGEST) is not None
    assert marked == (stage == "cleanup" or (stage == "_SUCCESS" and done))
    publish(store, RUN, PREFIX, DIGEST, folder_of(tmp_path, "b"))
    assert published_by(store) == author


def test_finish_completes_what_was_committed_without_the_files_at_hand(store, proxy, start):
    process = start("a", proxy.endpoint_url)

    def rule(request):
        if is_stage(request, "copy"):
            process.kill()

    proxy.rule = rule
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.wait(PATIENCE_S) == -signal.SIGKILL
    assert finish(store, RUN, PREFIX, DIGEST) is not None
    assert published_by(store) == "a"


@pytest.mark.parametrize("count", [2, 5])
def test_publishers_at_once_in_threads_agree(store, tmp_path, count):
    folders = [folder_of(tmp_path, f"author{number}") for number in range(count)]
    barrier, stop, problems = threading.Barrier(count), threading.Event(), []

    def read():
        while not stop.is_set():
            marker = read_marker(store, PREFIX, DIGEST)
            bodies = {} if marker is None else dict(store.get_many(f"{PREFIX}{name}" for name in NAMES))
            problems.extend(
                key
                for key, fetched in bodies.items()
                if fetched is None or not marker.files[key.removeprefix(PREFIX)].matches(fetched.body)
            )

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(count) as pool:
        markers = list(
            pool.map(lambda folder: barrier.wait() >= 0 and publish(store, RUN, PREFIX, DIGEST, folder), folders)
        )
    stop.set()
    reader.join()
    assert problems == []
    assert markers == [read_marker(store, PREFIX, DIGEST)] * count
    assert published_by(store).startswith("author")


def test_publishers_at_once_in_processes_agree(store, s3_server, start):
    processes = [start(f"author{number}", s3_server.endpoint_url) for number in range(3)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
    answers = [process.communicate("go\n", 60)[0] for process in processes]
    assert answers == [read_marker(store, PREFIX, DIGEST).sha256 + "\n"] * 3
    assert published_by(store).startswith("author")


@pytest.mark.parametrize("stage", ["upload", "commit", "copy", "_SUCCESS"])
def test_overtaken_at_any_stage_the_slow_one_takes_what_stands_and_cleans_up(store, watched, proxy, tmp_path, stage):
    """While the slow publisher's request is on its way, a fast one does everything."""
    fast = []

    def rule(request):
        if is_stage(request, stage) and not fast:
            fast.append(publish(store, RUN, PREFIX, DIGEST, folder_of(tmp_path, "fast")))

    proxy.rule = rule
    assert publish(watched, RUN, PREFIX, DIGEST, folder_of(tmp_path, "slow")) == fast[0]
    assert published_by(store) == ("fast" if stage in {"upload", "commit"} else "slow")
    assert published_by(store) == ("fast" if stage in {"upload", "commit"} else "slow")


def test_two_snapshots_of_a_run_do_not_touch_each_other(store, tmp_path):
    other = keys.job_snapshot(RUN, Family.RIDGE, Strategy.CONCAT, Horizon.D30)
    store.put(f"{keys.staging_area(other, RUN)}attempt=x/file", b"of a job that is running")
    publish(store, RUN, PREFIX, DIGEST, folder_of(tmp_path, "a"))
    assert len(store.list(keys.staging_area(other, RUN))) == 1
    assert store.list(other) == []
    assert published_by(store) == "a"
