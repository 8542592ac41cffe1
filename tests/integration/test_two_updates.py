"""Two runs that want different rows update the same tables at once: each pins versions that hold what it wants."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clipfarm_tasks.storage import open_store
from clipfarm_tasks.vectors.table import KEY
from tests.faulty_s3 import FaultyS3
from tests.integration.upstream_changes import MANIFEST, STRATEGY, assert_pinned, reconstruct, resolve, sample

pytestmark = pytest.mark.integration

RUNS = ("run0", "run1", "run2", "run3")


@pytest.fixture
def objects(store, bucket):
    """What upstream holds; every run wants the videos it shares with others from shards and objects of its own.

    The tables hold further videos, whose objects have vanished: each run drops them.
    """
    rng = np.random.default_rng(5)
    objects = sample(100)
    ids = np.array(objects.complete())
    objects.upload(store)
    resolve(store, bucket, "before")
    reconstruct(store, bucket, "before")
    wanted = [sorted(ids[rng.random(len(ids)) < 0.5]) for _ in RUNS]
    lost = objects.keys_of(sorted({*ids}.difference(*wanted)))
    assert lost
    manifests = []
    for number, some in enumerate(wanted):
        manifest, bodies = objects.moved(some, number)
        manifests.append(manifest[manifest[KEY].isin(some)])
        objects = objects.but(bodies, lost)
    objects.upload(store, before=sample(100))
    for run_id, manifest in zip(RUNS, manifests, strict=True):
        store.put(MANIFEST, manifest.to_parquet())
        resolve(store, bucket, run_id)
    return objects


def test_updates_in_parallel(store, bucket, s3_session, objects):
    for number in range(6):
        pair = RUNS[:2] if number % 2 else RUNS[2:]
        barrier = threading.Barrier(2)

        def update(run_id, barrier=barrier):
            own = open_store(bucket, s3_session)
            barrier.wait()
            return reconstruct(own, bucket, run_id)

        with ThreadPoolExecutor(2) as pool:
            for run_id, records in zip(pair, pool.map(update, pair), strict=True):
                assert_pinned(store, bucket, run_id, records, objects)


def test_an_update_within_an_update(store, bucket, s3_server, s3_session, objects):
    """A whole update comes in between, before or after any request that another one makes for its tables."""
    with FaultyS3(s3_server.endpoint_url) as proxy:
        behind = bucket.model_copy(update={"endpoint_url": proxy.endpoint_url})
        own = open_store(behind, s3_session)

        def of_the_tables():
            return [request for request in proxy.log if ".lance/" in request.key]

        reconstruct(own, behind, RUNS[0])
        usual = len(of_the_tables())
        reread = 0  # updates that found their rows moved away after they had merged them
        for number, moment in enumerate(range(usual - 1, -1, -3)):
            outer, inner = RUNS[:2] if number % 2 else RUNS[2:]
            proxy.log.clear()
            came = []

            def interfere(exchange, inner=inner, came=came, after=number // 2 % 2):
                answer = exchange.ask() if after else None
                came.append(reconstruct(store, bucket, inner))
                exchange.answer(*(answer or exchange.ask()))

            proxy.rule = lambda request, came=came, moment=moment: (
                interfere if not came and ".lance/" in request.key and len(of_the_tables()) == moment + 1 else None
            )
            records = reconstruct(own, behind, outer)
            assert_pinned(store, bucket, outer, records, objects)
            assert_pinned(store, bucket, inner, came[0], objects)
            reread += records[f"fused_{STRATEGY}"].throughput.objects > 1
    assert reread >= 3
