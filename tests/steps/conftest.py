"""A small bucket as upstream writes it, and a run over it, one step at a time. Tests break one thing and look."""

import io
import json
import uuid

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.config import Settings
from clipfarm_tasks.families import DEFAULT_FAMILIES, ENSEMBLE, Horizon, Modality, Strategy, model_names
from clipfarm_tasks.steps.catalog import execute
from clipfarm_tasks.steps.context import StepContext, load_config
from clipfarm_tasks.steps.resolve_run import resolve_run
from clipfarm_tasks.storage import open_store

DATES = ("2026-03-01", "2026-03-02")
QUICK = {"strategies": ["concat"], "horizons": [7], "models": ["ridge"], "max_epochs": 2}


class Upstream:
    """What upstream writes for a few videos; in memory until `upload`.

    Everything is open to change before: ``metadata`` and ``manifests`` (frames), ``shards`` (arrays by key), ``npy``
    (array or bytes by key), ``schemas`` (documents; None leaves the object out), ``raw`` (bytes by key, last word).
    """

    def __init__(self, store, videos=24):
        rng = np.random.default_rng(0)
        self.store = store
        self.widths = {Modality.VIDEO: 4, Modality.AUDIO: 3, Modality.TEXT: 5}
        self.ids = [f"vid{number:03d}" for number in range(videos)]
        self.present = np.arange(videos) % 6 != 0
        self.vectors = {name: rng.normal(size=(videos, width)).astype("f4") for name, width in self.widths.items()}
        self.vectors[Modality.TEXT][~self.present] = 0
        self.fused = {strategy: self._fused(strategy) for strategy in Strategy}
        self.metadata = self._metadata(rng)
        self.npy = {
            keys.embedding(modality, video_id): self.vectors[modality][row]
            for modality in Modality
            for row, video_id in enumerate(self.ids)
            if modality is not Modality.TEXT or self.present[row]
        }
        self.shards, self.manifests = {}, {}
        for strategy in Strategy:
            self._shards_and_manifest(strategy)
        self.schemas = {strategy: self._schema(strategy) for strategy in Strategy}
        self.raw = {}

    def key(self, modality, row):
        return keys.embedding(modality, self.ids[row])

    def upload(self):
        objects = {keys.METADATA_CSV: self.metadata.to_csv(index=False).encode()}
        objects |= {key: value if isinstance(value, bytes) else npy(value) for key, value in self.npy.items()}
        objects |= {key: npz(**arrays) for key, arrays in self.shards.items()}
        objects |= {keys.fused_manifest(name): frame.to_parquet(index=False) for name, frame in self.manifests.items()}
        objects |= {keys.fused_schema(name): json.dumps(doc).encode() for name, doc in self.schemas.items() if doc}
        self.store.put_many((objects | self.raw).items())

    def _fused(self, strategy):
        width = max(self.widths.values())
        if strategy is Strategy.CONCAT:
            base = np.hstack(list(self.vectors.values()))
        else:
            padded = [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in self.vectors.values()]
            base = sum(padded) if strategy is Strategy.SUM_POOL else np.maximum.reduce(padded)
        return np.hstack([base, self.present[:, None]]).astype("f4")

    def _shards_and_manifest(self, strategy):
        half = len(self.ids) // 2
        rows = []
        for date, part in zip(DATES, (slice(0, half), slice(half, None)), strict=True):
            key = keys.fused_shard(strategy, date, 0)
            ids = np.array(self.ids[part])
            self.shards[key] = {
                "video_ids": ids,
                "vectors": self.fused[strategy][part],
                "captured_at": np.array([f"{date}T00:00:00+00:00"] * len(ids)),
            }
            rows += [self._manifest_row(strategy, key, index, video_id) for index, video_id in enumerate(ids)]
        self.manifests[strategy] = pd.DataFrame(rows)

    def _manifest_row(self, strategy, key, index, video_id):
        return {
            "video_id": video_id,
            "captured_at": f"{key.split('date=')[1][:10]}T00:00:00+00:00",
            "source_hash": f"hash-{video_id}",
            "fusion_strategy": str(strategy),
            "fused_dim": self.fused[strategy].shape[1],
            "fused_key": key,
            "shard_idx": index,
            **{f"{modality}_emb_key": keys.embedding(modality, video_id) for modality in Modality},
            "text_present": int(self.present[self.ids.index(video_id)]),
        }

    def _schema(self, strategy):
        dims = {f"{modality}_dim": width for modality, width in self.widths.items()}
        return {"fusion_strategy": str(strategy), **dims, "fused_dim": self.fused[strategy].shape[1]}

    def _metadata(self, rng):
        count = len(self.ids)
        subscribers = np.round(np.exp(rng.normal(8, 2, count)))
        views = np.round(subscribers * np.exp(self.vectors[Modality.VIDEO][:, 0]))
        rows = pd.DataFrame(
            {
                "video_id": self.ids,
                "captured_at": "2026-03-05T10:00:00+00:00",
                "published_at": [f"2026-02-{1 + row % 27:02d}T{row % 24:02d}:00:00Z" for row in range(count)],
                "channel_country": ["US", "IN", "BR"] * (count // 3) + ["US"] * (count % 3),
                "channel_subscriber_count": subscribers,
                "has_hashtags": ["True", "0", "yes"] * (count // 3) + ["no"] * (count % 3),
                "title": [f'Video {row},\n"quoted"' for row in range(count)],
                "view_count": views,
            }
        )
        horizons = [rows.assign(horizon_days=days, horizon_view_count=views * days) for days in (7, 30)]
        return pd.concat(horizons, ignore_index=True)


class Run:
    """One run over a bucket, step by step."""

    def __init__(self, store, settings):
        self.store = store
        self.settings = settings
        self.record = None

    @property
    def id(self):
        return self.record.run_id

    @property
    def context(self):
        return StepContext(self.store, self.settings, load_config(self.store, self.id))

    def resolve(self, run_id="run-1", **params):
        self.record = resolve_run(self.store, QUICK | params, run_id)
        return self.record

    def step(self, name, strategy=None, horizon=None, family=None):
        return execute(name, self.store, self.settings, self.id, strategy, horizon, family)

    def vectors(self):
        """Everything before the pairs; returns the records of reconstruct_fused by strategy and of the modalities."""
        self.step("scan_metadata")
        for horizon in self.record.horizons:
            self.step("filter_metadata", horizon=horizon)
            self.step("split_videos", horizon=horizon)
        for strategy in self.record.strategies:
            self.step("resolve_manifest", strategy)
        fused = {strategy: self.step("reconstruct_fused", strategy) for strategy in self.record.strategies}
        return fused, self.step("reconstruct_modalities")

    def pairs(self):
        return [(strategy, horizon) for strategy in self.record.strategies for horizon in self.record.horizons]

    def splits(self):
        """Everything before the training; returns the splits' records by pair."""
        self.vectors()
        return {pair: self.step("build_split", *pair) for pair in self.pairs()}

    def jobs(self):
        """Everything up to the jobs; returns their records by (strategy, horizon, family)."""
        self.splits()
        return {
            (*pair, family): self.step("train", *pair, family) for pair in self.pairs() for family in self.record.models
        }

    def whole(self):
        self.jobs()
        for horizon in self.record.horizons:
            self.step("baselines", horizon=horizon)
        for pair in self.pairs():
            if ENSEMBLE in model_names(self.record.models):
                self.step("ensemble", *pair)
            self.step("publish_snapshot", *pair)
        self.step("leaderboard")
        return self.step("gate")

    def alone(self):
        """The body of every object that the run has written, by key; upstream's are deleted."""
        written = ("clipfarm/runs/", "clipfarm/vectors/", "clipfarm/models/")
        found = [info.key for info in self.store.list("")]
        self.store.delete(key for key in found if not key.startswith(written))
        return {key: self.store.get(key) for key in found if key.startswith(written)}

    def json(self, key):
        return json.loads(self.store.get(key))

    def frame(self, key):
        return pd.read_parquet(io.BytesIO(self.store.get(key)))

    def files(self, prefix):
        return {info.key.removeprefix(prefix): self.store.get(info.key) for info in self.store.list(prefix)}


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


class Bomb:
    """Unpickling it writes a file: the proof that somebody unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def upstream(store):
    return Upstream(store)


@pytest.fixture
def run(store, bucket):
    return Run(store, bucket)


@pytest.fixture(scope="session")
def made():
    """What `made_once` keeps: (record of the run, every object of its bucket) by the function that made it."""
    return {}


@pytest.fixture
def made_once(store, bucket, made):
    """A run as a function left it: ``made_once(function)`` calls ``function(upstream, run)`` once for all its tests.

    Every test finds in its own bucket what the run has written, the same bytes in a tenth of the time, and nothing of
    what upstream has.
    """

    def made_once(prepare):
        run = Run(store, bucket)
        if prepare in made:
            run.record, objects = made[prepare]
            store.put_many(objects.items())
        else:
            prepare(Upstream(store), run)
            made[prepare] = run.record, run.alone()
        return run

    return made_once


@pytest.fixture
def tripwire(tmp_path):
    """(pickled object array, path that exists once it was unpickled)."""
    path = tmp_path / "unpickled"
    return np.array([Bomb(path)], dtype=object), path


@pytest.fixture(scope="session")
def finished(s3_server, s3_session):
    """A complete run of two strategies, both horizons, all families. Read only: tests that change it make their own."""
    name = f"finished-{uuid.uuid4().hex[:12]}"
    s3_server.client().create_bucket(Bucket=name)
    settings = Settings.from_environment(s3_server.environment() | {"CLIPFARM_BUCKET": name})
    store = open_store(settings, s3_session)
    Upstream(store, videos=40).upload()
    run = Run(store, settings)
    run.resolve(
        strategies=[Strategy.CONCAT, Strategy.MAX_POOL],
        horizons=list(Horizon),
        models=list(DEFAULT_FAMILIES),
        rank_metric="val_r2_log",
    )
    run.whole()
    yield run
    s3_server.client().delete_bucket(Bucket=name)
