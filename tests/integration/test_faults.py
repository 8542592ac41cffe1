"""A tenth of all requests struck, or some for ever: the same arrays as without, or a transient error."""

import logging
import threading
import time
import uuid
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.config import Settings
from clipfarm_tasks.errors import TransientError
from clipfarm_tasks.families import Modality
from clipfarm_tasks.storage import open_store
from clipfarm_tasks.vectors.table import KEY, VectorTable, vectors
from tests.faulty_s3 import (
    FaultyS3,
    always,
    at_random,
    cut,
    list_also,
    listing,
    not_found,
    reading,
    refuse,
    reset,
    shorten,
    stall,
)
from tests.integration.upstream_changes import (
    STRATEGY,
    TABLES,
    assert_pinned,
    npy,
    pinned,
    reconstruct,
    reconstruct_fused,
    reconstruct_modalities,
    recorded,
    resolve,
    sample,
    tables,
    two_days,
    view,
)

pytestmark = pytest.mark.integration
log = logging.getLogger(__name__)

SILENCE_S = 1.0
FAULTS = {
    "503 SlowDown": refuse(503, "SlowDown"),
    "500": refuse(500, "InternalError"),
    "reset": reset,
    "reset in the body": cut(reset=True),
    "end in the body": cut(reset=False),
    "stall": stall(3 * SILENCE_S),
    "stall in the body": stall(3 * SILENCE_S, in_body=True),
}
# Only who knows the size, or asks twice, can tell these from the truth.
LIES = {"short body": shorten, "404 that is a lie": not_found}


@pytest.fixture
def proxy(s3_server):
    with FaultyS3(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def twin(s3_server, s3_session):
    """A second bucket: store and settings."""
    name = f"twin-{uuid.uuid4().hex[:16]}"
    s3_server.client().create_bucket(Bucket=name)
    settings = Settings.from_environment(s3_server.environment() | {"CLIPFARM_BUCKET": name})
    yield open_store(settings, s3_session), settings
    s3_server.client().delete_bucket(Bucket=name)


class Weather:
    """A rule: a tenth of all reads, heads and lists struck; some objects changed between list and get; a stale list."""

    def __init__(self, seed, changes, change, vanished):
        self.struck = Counter()
        self.left = dict(changes)
        self._change = change
        self._changing = threading.Lock()
        self._stale = list_also(vanished)
        upstream = reading("clipfarm/embeddings/"), reading(keys.fused_shards(STRATEGY))
        self._is_vector = lambda request: any(when(request) for when in upstream)
        self._plain = at_random(seed, 0.1, self._counting(FAULTS), lambda request: request.method in {"GET", "HEAD"})
        self._lying = at_random(seed, 0.1, self._counting(FAULTS | LIES), self._is_vector)

    def __call__(self, request):
        if request.key in self.left and self._is_vector(request):
            self._change_once(request.key)
        fault = self._lying(request) if self._is_vector(request) else self._plain(request)
        return fault or (self._stale if listing(request) else None)

    def _change_once(self, key):
        """Change the object before anybody reads it: whoever asks for it meanwhile, as a client that has lost patience
        does, waits. Else he could read it as it was, which is no fault, for nothing had changed yet."""
        with self._changing:
            if key in self.left:
                body = self.left[key]
                self._change(key, body)
                del self.left[key]
                self.struck["removed since the list" if body is None else "overwritten since the list"] += 1

    def _counting(self, faults):
        def counted(name, fault):
            def strike(exchange):
                self.struck[name] += 1
                fault(exchange)

            return strike

        return [counted(name, fault) for name, fault in faults.items()]


def until_it_heals(step, attempts=4):
    """What Airflow does: a task that failed as transient, and only that one, is tried again."""
    failures = []
    while True:
        try:
            return step(), failures
        except TransientError as error:
            failures.append(str(error))
            assert len(failures) < attempts, failures


def test_a_tenth_of_all_requests_struck_changes_no_row_of_ten_thousand_objects(proxy, store, bucket, twin, s3_session):
    before = sample(3500)
    assert len(before.bodies) > 10_000
    before.upload(store)
    picked = iter(np.random.default_rng(0).permutation(before.complete()))
    take = {
        what: [keys.embedding(modality, next(picked)) for modality in Modality for _ in range(20)]
        for what in ("overwritten", "longer", "removed", "stale")
    }
    changes = before.negated(take["overwritten"])
    changes |= {key: npy(before.array(key).astype("f8") * 2) for key in take["longer"]}
    changes |= dict.fromkeys(take["removed"])
    vanished = [store.head(key) for key in take["stale"]]
    store.delete(take["stale"])
    resolve(store, bucket, "faulty")

    weather = Weather(
        1, changes, lambda key, body: store.delete([key]) if body is None else store.put(key, body), vanished
    )
    patient = {"request_timeout_s": SILENCE_S, "retry_timeout_s": 60.0}
    behind = bucket.model_copy(update=patient | {"endpoint_url": proxy.endpoint_url})
    proxy.rule = weather
    start = time.perf_counter()
    records, failures = until_it_heals(lambda: reconstruct(open_store(behind, s3_session), behind, "faulty"))
    seconds = time.perf_counter() - start
    assert weather.left == {}
    assert min(weather.struck[name] for name in FAULTS | LIES) >= 60, weather.struck
    found = pinned(store, bucket, "faulty", records)

    kept = {key: body for key, body in changes.items() if body is not None}
    after = before.but(kept, [*take["removed"], *take["stale"]])
    calm, calm_settings = twin
    after.upload(calm)
    resolve(calm, calm_settings, "clean")
    start = time.perf_counter()
    clean_records = reconstruct(calm, calm_settings, "clean")
    clean_seconds = time.perf_counter() - start
    clean = assert_pinned(calm, calm_settings, "clean", clean_records, after)
    for name, table in clean.items():
        found[name].assert_same(table)
        assert view(tables(store)[name], records[name].version) == view(tables(calm)[name], clean_records[name].version)
    resolve(store, bucket, "again")
    again = reconstruct(store, bucket, "again")
    assert [record.throughput.objects for record in again.values()] == [0, 0]
    log.info(
        "%d objects, %d requests, struck %s, %s retries, transient failures %s, %.1f s against %.1f s clean",
        len(before.bodies),
        len(proxy.log),
        dict(weather.struck),
        [record.throughput.retries for record in records.values()],
        failures,
        seconds,
        clean_seconds,
    )


@pytest.fixture
def second_day(store, bucket):
    """Upstream's new state; the tables hold the one before, and a run ``run`` is to update them."""
    first, second = two_days(200)
    first.upload(store)
    resolve(store, bucket, "before")
    reconstruct(store, bucket, "before")
    second.upload(store, before=first)
    resolve(store, bucket, "run")
    return second


def test_patience_that_runs_out_is_transient_and_pins_nothing(proxy, store, bucket, s3_session, second_day):
    impatient = {"request_timeout_s": 0.3, "retry_timeout_s": 0.1, "endpoint_url": proxy.endpoint_url}
    behind = bucket.model_copy(update=impatient)

    def commit(request):
        return request.method == "PUT" and "/_versions/" in request.key

    for name, step, folder, faults in (
        (f"fused_{STRATEGY}", reconstruct_fused, keys.fused_shards(STRATEGY), LIES),
        ("modalities", reconstruct_modalities, keys.embeddings_prefix(Modality.AUDIO), FAULTS | LIES),
    ):
        rules = [always(fault, reading(folder)) for fault in faults.values()]
        for proxy.rule in [*rules, always(reset, listing), always(reset, commit)]:
            with pytest.raises(TransientError):
                step(open_store(behind, s3_session), behind, "run")
            assert name not in recorded(store, "run")  # rows that had arrived may be kept, but no run reads them yet
        proxy.rule = None
        step(open_store(behind, s3_session), behind, "run")
    assert_pinned(store, bucket, "run", recorded(store, "run"), second_day)


@pytest.mark.parametrize("folder", ["_versions", "data", "_deletions"])
def test_short_body_of_a_file_of_the_table_is_transient(proxy, store, bucket, s3_session, folder):
    """Lance trusts the length an answer states; it must not take half a file for a whole one."""
    key = TABLES["modalities"]
    ids = np.array([f"v{number}" for number in range(100)], dtype=object)
    matrix = np.arange(800, dtype="f4").reshape(100, 8)
    table = VectorTable(store, key)
    table.merge(pa.table({KEY: pa.array(ids, pa.string()), "vector": vectors(matrix)}))
    version = table.drop(ids[50:].tolist())
    behind = bucket.model_copy(update={"retry_timeout_s": 1.0, "endpoint_url": proxy.endpoint_url})
    behind_table = VectorTable(open_store(behind, s3_session), key)
    proxy.rule = always(shorten, reading(f"{key}/{folder}/"))
    with pytest.raises(TransientError):
        behind_table.read(["vector"], ids[:50], version)
    proxy.rule = None
    np.testing.assert_array_equal(behind_table.read(["vector"], ids[:50], version)["vector"], matrix[:50])
