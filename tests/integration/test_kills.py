"""kill -9 at any moment of an update: the next run repairs, and no reader ever sees half of it."""

import logging
import os
import select
import signal
import threading
import time
import uuid

import numpy as np
import pytest

from clipfarm_tasks.config import Settings
from clipfarm_tasks.storage import open_store
from tests.faulty_s3 import FaultyS3, always
from tests.integration.upstream_changes import (
    TABLES,
    assert_pinned,
    pinned,
    reconstruct,
    recorded,
    resolve,
    tables,
    two_days,
    view,
)
from tests.warm_python import WarmPython

pytestmark = pytest.mark.integration
log = logging.getLogger(__name__)

UPDATER = """
import sys
from clipfarm_tasks.config import Settings
from clipfarm_tasks.steps import reconstruct_fused, reconstruct_modalities
from clipfarm_tasks.storage import open_store
from tests.integration.upstream_changes import reconstruct
settings = Settings.from_environment()
open_store(settings)  # the first one imports boto3
print("ready", flush=True)
run_id, endpoint_url = sys.stdin.readline().split()
settings = settings.model_copy(update={"endpoint_url": endpoint_url})
reconstruct(open_store(settings), settings, run_id)
print("done", flush=True)
"""


@pytest.fixture
def proxy(s3_server):
    with FaultyS3(s3_server.endpoint_url) as proxy:
        yield proxy


class Nights:
    """Upstream goes from one state to the other and back; each time the tables are updated by a process of its own."""

    def __init__(self, store, settings, environment, repository):
        self.store, self.settings = store, settings
        self._days = two_days(400)
        self._today = 0
        self._environment = os.environ | environment | {"CLIPFARM_BUCKET": settings.bucket}
        self._repository = repository
        self._standby = self._spawn()
        self._steps = {}  # views that an update goes through when nobody disturbs it, by day and table
        self._ends = {}  # what it pins, by day
        self._days[0].upload(store)
        resolve(store, settings, "start")
        reconstruct(store, settings, "start")
        self.seconds = [self._undisturbed(f"calm{number}") for number in range(4)]

    def close(self):
        if self._standby is not None:
            self._standby.kill()
            self._standby.communicate()

    def versions(self):
        return {name: table.version() for name, table in tables(self.store).items()}

    def launch(self, run_id, endpoint_url=""):
        """Upstream changes, and a process is about to update the tables."""
        before, self._today = self._today, 1 - self._today
        self._days[self._today].upload(self.store, before=self._days[before])
        resolve(self.store, self.settings, run_id)
        process, self._standby = self._standby, None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write(f"{run_id} {endpoint_url or self.settings.endpoint_url}\n")
        process.stdin.flush()
        return process

    def ended(self, process):
        """Whether it was killed; the next one is started meanwhile, so that nobody waits for its imports."""
        code = process.wait(60)
        process.communicate()
        self._standby = self._spawn()
        assert code in {0, -signal.SIGKILL}
        return code != 0

    def repaired(self, run_id, since):
        """The next run ends like one that nobody disturbed, and no reader has seen anything else meanwhile.

        Returns the names of the tables that had been committed to before it, and the objects it had to read.
        """
        committed = [name for name, version in self.versions().items() if version > since[name]]
        resolve(self.store, self.settings, run_id)
        records = reconstruct(self.store, self.settings, run_id)
        for name, table in pinned(self.store, self.settings, run_id, records).items():
            table.assert_same(self._ends[self._today][name])
        for name, views in self._views(since).items():
            steps = self._steps[self._today][name]
            assert all(one in steps for one in views)
            assert views[-1] == steps[-1]
        return committed, sum(record.throughput.objects for record in records.values())

    def _undisturbed(self, run_id):
        """Seconds an update takes; what it goes through and ends with is what others are compared with."""
        since = self.versions()
        process = self.launch(run_id)
        start = time.perf_counter()
        assert process.stdout.readline() == "done\n"
        seconds = time.perf_counter() - start
        assert not self.ended(process)
        self._steps[self._today] = self._views(since)
        records = recorded(self.store, run_id)
        self._ends[self._today] = assert_pinned(self.store, self.settings, run_id, records, self._days[self._today])
        return seconds

    def _views(self, since):
        """Of every version from these on: all that any reader can have seen."""
        newest = self.versions()
        return {
            name: [view(table, version) for version in range(since[name], newest[name] + 1)]
            for name, table in tables(self.store).items()
        }

    def _spawn(self):
        return WarmPython(["-c", UPDATER], self._environment, self._repository, talks=True)


@pytest.fixture(scope="module")
def nights(s3_server, s3_session, repository):
    name = f"nights-{uuid.uuid4().hex[:12]}"
    s3_server.client().create_bucket(Bucket=name)
    settings = Settings.from_environment(s3_server.environment() | {"CLIPFARM_BUCKET": name})
    nights = Nights(open_store(settings, s3_session), settings, s3_server.environment(), repository)
    yield nights
    nights.close()
    s3_server.client().delete_bucket(Bucket=name)


def test_next_run_repairs_what_was_killed_at_any_moment(nights):
    rng = np.random.default_rng(3)
    # Over the whole duration, in random order.
    moments = (rng.permutation(20) + rng.random(20)) / 20 * np.median(nights.seconds)
    outcomes = []
    for number, moment in enumerate(moments.tolist()):
        since = nights.versions()
        process = nights.launch(f"killed{number}")
        select.select([process.stdout], [], [], moment)
        process.kill()
        killed = nights.ended(process)
        outcomes.append((round(moment, 3), killed, *nights.repaired(f"next{number}", since)))
    log.info("undisturbed %s s; moment, killed, committed, read again: %s", nights.seconds, sorted(outcomes))
    commits = [committed for _, killed, committed, _ in outcomes if killed]
    assert len(commits) >= 10
    assert [] in commits
    assert any(commits)


@pytest.mark.parametrize("lands", [False, True])
@pytest.mark.parametrize("name", TABLES)
def test_next_run_repairs_what_was_killed_at_its_commit(nights, proxy, name, lands):
    since = nights.versions()
    commit = f"{TABLES[name]}/_versions/"

    def kill(exchange):
        if lands:
            exchange.ask()
        arrived.set()
        dead.wait(60)
        exchange.hang_up(reset=False)

    arrived, dead = threading.Event(), threading.Event()
    proxy.rule = always(kill, lambda request: request.method == "PUT" and request.key.startswith(commit))
    process = nights.launch(f"killed-{name}-{lands}", proxy.endpoint_url)
    assert arrived.wait(60)
    process.kill()
    killed = nights.ended(process)
    dead.set()
    assert killed
    committed, read = nights.repaired(f"next-{name}-{lands}", since)
    assert (name in committed) == lands
    assert (read == 0) == (lands and name == "modalities")
