"""A made-up bucket held in memory, what upstream may do to it, and what a run must then assemble."""

import io
from dataclasses import dataclass, field, replace
from itertools import cycle

import numpy as np
import pandas as pd

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import ManifestRecord, VectorsRecord
from clipfarm_tasks.families import Modality, Strategy
from clipfarm_tasks.sample.write import write_sample
from clipfarm_tasks.steps.catalog import execute
from clipfarm_tasks.steps.context import StepContext, load_config
from clipfarm_tasks.steps.resolve_run import resolve_run
from clipfarm_tasks.vectors.table import KEY, VectorTable

STRATEGY = Strategy.MAX_POOL
MANIFEST = keys.fused_manifest(STRATEGY)
WIDTH = 8
TABLES = {f"fused_{STRATEGY}": keys.fused_table(STRATEGY), "modalities": keys.modalities_table()}
RECONSTRUCT = (keys.task_id("reconstruct_fused", STRATEGY), keys.task_id("reconstruct_modalities"))


@dataclass
class Objects:
    """Upstream's part of a bucket: bodies by key."""

    bodies: dict[str, bytes] = field(default_factory=dict)

    def put_many(self, items):
        kept = ("Data/", "clipfarm/embeddings/", f"clipfarm/fused/{STRATEGY}/")
        self.bodies |= {key: body for key, body in items if key.startswith(kept)}

    @property
    def manifest(self):
        return pd.read_parquet(io.BytesIO(self.bodies[MANIFEST]))

    @property
    def latest(self):
        """The manifest's rows that count."""
        return self.manifest.sort_values("captured_at").drop_duplicates(KEY, keep="last")

    def complete(self):
        """Videos that have all objects."""
        ids = sorted(set(self.manifest[KEY]))
        return [one for one in ids if all(keys.embedding(modality, one) in self.bodies for modality in Modality)]

    def but(self, changed, gone=(), manifest=None):
        """A copy with other bodies, without some keys, with another manifest."""
        bodies = {key: body for key, body in (self.bodies | changed).items() if key not in set(gone)}
        return replace(self, bodies=bodies if manifest is None else bodies | {MANIFEST: manifest.to_parquet()})

    def keys_of(self, video_ids):
        return [keys.embedding(modality, one) for modality in Modality for one in video_ids]

    def fused_anew(self, video_ids, number=0):
        """(manifest, bodies) after upstream fused these videos once more: other vectors in a shard of their own."""
        manifest = self.latest.set_index(KEY)
        rows = manifest.loc[video_ids, ["fused_key", "shard_idx"]].itertuples(index=False)
        vectors = np.stack([self.array(row.fused_key)["vectors"][row.shard_idx] - 1 - number for row in rows])
        shard = io.BytesIO()
        np.savez(shard, video_ids=np.array(video_ids), vectors=vectors, captured_at=np.array([""] * len(video_ids)))
        key = keys.fused_shard(STRATEGY, "2026-03-09", number)
        manifest.loc[video_ids, "fused_key"] = key
        manifest.loc[video_ids, "shard_idx"] = np.arange(len(video_ids))
        return manifest.reset_index(), {key: shard.getvalue()}

    def moved(self, video_ids, number):
        """As `fused_anew`, and their video vectors are other objects too."""
        manifest, bodies = self.fused_anew(video_ids, number)
        column = f"{Modality.VIDEO}_emb_key"
        chosen = manifest[KEY].isin(video_ids)
        bodies |= {f"{key}.{number}": npy(self.array(key) - 1 - number) for key in manifest.loc[chosen, column]}
        manifest.loc[chosen, column] += f".{number}"
        return manifest, bodies

    def array(self, key):
        body = self.bodies.get(key)
        return None if body is None else np.load(io.BytesIO(body))

    def negated(self, keys_):
        """Other content of the same size for these objects."""
        return {key: npy(-self.array(key)) for key in keys_}

    def upload(self, store, before=None):
        """Make the bucket like this; ``before``: what it is like."""
        old = {} if before is None else before.bodies
        store.put_many((key, body) for key, body in self.bodies.items() if old.get(key) != body)
        store.delete(old.keys() - self.bodies.keys())

    def expected(self, manifest):
        """By table, by usable video, its vectors: read from the objects without the pipeline."""
        shards = {key: dict(self.array(key)) for key in manifest["fused_key"].unique() if key in self.bodies}
        tables = {f"fused_{STRATEGY}": {}, "modalities": {}}
        for row in manifest.itertuples():
            if row.fused_key in shards:
                tables[f"fused_{STRATEGY}"][row.video_id] = {"vector": shards[row.fused_key]["vectors"][row.shard_idx]}
            parts = {str(modality): self.array(getattr(row, f"{modality}_emb_key")) for modality in Modality}
            if parts["video"] is not None and parts["audio"] is not None:
                text = np.zeros(WIDTH, "f4") if parts["text"] is None else parts["text"]
                tables["modalities"][row.video_id] = parts | {"text": text}
        return tables


def sample(videos, seed=7):
    objects = Objects()
    write_sample(objects, videos=videos, seed=seed, width=WIDTH)
    return objects


def two_days(videos):
    """Two states of upstream, each with videos, contents and shards that the other does not have."""
    both = sample(videos)
    only_first, only_second, changed = (
        np.random.default_rng(0).permutation(both.complete())[: videos // 10 * 3].reshape(3, -1)
    )
    first = both.but({}, both.keys_of(only_second), both.manifest[~both.manifest[KEY].isin(only_second)])
    shard = both.manifest["fused_key"].iloc[0]
    manifest, bodies = both.fused_anew(sorted(both.latest.loc[both.latest["fused_key"] == shard, KEY]))
    bodies |= both.negated(keys.embedding(modality, one) for modality, one in zip(cycle(Modality), changed))
    return first, both.but(bodies, [*both.keys_of(only_first), shard], manifest[~manifest[KEY].isin(only_first)])


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def resolve(store, settings, run_id):
    """Start a run on what upstream holds now; all that the reconstruct steps need."""
    resolve_run(store, {"strategies": [STRATEGY], "horizons": [7], "models": ["ridge"]}, run_id)
    execute("resolve_manifest", store, settings, run_id, STRATEGY)


def reconstruct_fused(store, settings, run_id):
    return execute("reconstruct_fused", store, settings, run_id, STRATEGY)


def reconstruct_modalities(store, settings, run_id):
    return execute("reconstruct_modalities", store, settings, run_id)


def reconstruct(store, settings, run_id):
    """Both steps, as in a run that has settled no version yet; returns their records by table."""
    store.delete([keys.run_record(run_id, task) for task in RECONSTRUCT])
    records = [reconstruct_fused(store, settings, run_id), reconstruct_modalities(store, settings, run_id)]
    return {record.table: record for record in records}


def recorded(store, run_id):
    """The records that a run has of both steps, by table."""
    there = [key for key in (keys.run_record(run_id, task) for task in RECONSTRUCT) if store.head(key) is not None]
    records = [VectorsRecord.model_validate_json(store.get(key)) for key in there]
    return {record.table: record for record in records}


@dataclass(eq=False)
class Assembled:
    """What a run pinned of one table: usable rows, their vectors by column, rows taken out."""

    usable: pd.DataFrame
    vectors: dict[str, np.ndarray]
    quarantined: pd.DataFrame

    def assert_same(self, other):
        pd.testing.assert_frame_equal(self.usable, other.usable)
        pd.testing.assert_frame_equal(self.quarantined, other.quarantined)
        assert self.vectors.keys() == other.vectors.keys()
        for name, matrix in self.vectors.items():
            np.testing.assert_array_equal(matrix, other.vectors[name])

    def assert_holds(self, expected):
        """Exactly these videos, sorted, with exactly these vectors."""
        assert self.usable[KEY].tolist() == sorted(expected)
        for name, matrix in self.vectors.items():
            np.testing.assert_array_equal(matrix, np.stack([expected[one][name] for one in sorted(expected)]))


def pinned(store, settings, run_id, records):
    """What training tasks read of each table."""
    context = StepContext(store, settings, load_config(store, run_id))
    return {name: _assembled(context, record) for name, record in records.items()}


def _assembled(context, record):
    usable = context.frame(record.rows_key, record.sha256)
    table = VectorTable(context.store, record.key)
    columns = list(table.widths(record.version))
    vectors = table.read(columns, usable[KEY].to_numpy(dtype=object), record.version)
    return Assembled(usable, vectors, pd.read_parquet(io.BytesIO(context.store.get(record.quarantine_key))))


def assert_pinned(store, settings, run_id, records, objects):
    """A run pinned both tables, and exactly what upstream holds; returns what, by table."""
    context = StepContext(store, settings, load_config(store, run_id))
    resolved = context.record(ManifestRecord, keys.task_id("resolve_manifest", STRATEGY))
    expected = objects.expected(context.frame(resolved.key, resolved.sha256))
    found = pinned(store, settings, run_id, records)
    assert found.keys() == expected.keys()
    for name, table in found.items():
        table.assert_holds(expected[name])
    return found


def tables(store):
    """By name, whether they exist or not."""
    return {name: VectorTable(store, key) for name, key in TABLES.items()}


def view(table, version=None):
    """All a version of a table holds, in an order of its own, comparable."""
    dataset = table.open(version)
    return dataset.to_table().sort_by(KEY).to_pydict()
