import pandas as pd
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import ChangedObjectError, DataError, MissingObjectError
from clipfarm_tasks.families import Strategy

KEY = keys.fused_manifest(Strategy.CONCAT)


def test_latest_row_of_each_video_wins(upstream, run):
    manifest = upstream.manifests[Strategy.CONCAT]
    older = manifest.head(4).assign(captured_at="2026-01-01T00:00:00Z", fused_key="old.npz", source_hash="old")
    upstream.manifests[Strategy.CONCAT] = pd.concat([manifest, older])
    upstream.upload()
    run.resolve()
    record = run.step("resolve_manifest", Strategy.CONCAT)
    frame = run.frame(record.key)
    assert (record.rows, record.dropped) == (24, {"superseded_capture": 4})
    assert frame["video_id"].tolist() == upstream.ids
    assert frame["fused_key"].tolist() == manifest["fused_key"].tolist()
    assert frame["text_present"].tolist() == upstream.present.astype(int).tolist()
    assert run.context.table(record.key, record.sha256).to_pandas().equals(frame)


def test_missing_manifest_names_the_key_and_lets_others_go_on(upstream, run):
    del upstream.manifests[Strategy.SUM_POOL]
    upstream.upload()
    run.resolve(strategies=["concat", "sum_pool"])
    with pytest.raises(
        MissingObjectError, match=f"strategy sum_pool at s3://.*/{keys.fused_manifest('sum_pool')}"
    ) as e:
        run.step("resolve_manifest", Strategy.SUM_POOL)
    assert isinstance(e.value, FileNotFoundError)
    assert isinstance(e.value, DataError)  # which is never retried
    assert run.step("resolve_manifest", Strategy.CONCAT).rows == 24


def test_manifest_deleted_after_the_run_was_resolved(upstream, run, store):
    upstream.upload()
    run.resolve()
    copy = run.context.config.copies[KEY].key
    store.delete([copy])
    with pytest.raises(MissingObjectError, match=copy):
        run.step("resolve_manifest", Strategy.CONCAT)


def test_manifest_that_upstream_overwrites_or_removes_is_read_as_it_was(upstream, run, store):
    upstream.upload()
    run.resolve()
    store.put(KEY, upstream.manifests[Strategy.CONCAT].head(20).to_parquet(index=False))
    assert run.step("resolve_manifest", Strategy.CONCAT).rows == 24
    store.delete([KEY])
    assert run.step("resolve_manifest", Strategy.CONCAT).rows == 24


def test_copy_of_the_manifest_that_somebody_overwrote_is_refused(upstream, run, store):
    upstream.upload()
    run.resolve()
    copy = run.context.config.copies[KEY].key
    store.put(copy, upstream.manifests[Strategy.CONCAT].head(20).to_parquet(index=False))
    with pytest.raises(ChangedObjectError, match=f"{copy} as it was when the run was resolved, got another version"):
        run.step("resolve_manifest", Strategy.CONCAT)


def test_manifest_without_rows_of_the_strategy(upstream, run):
    upstream.manifests[Strategy.CONCAT] = upstream.manifests[Strategy.MAX_POOL]
    upstream.upload()
    run.resolve()
    with pytest.raises(DataError, match=rf"fusion_strategy = concat, got strategies \['max_pool'\], in s3://.*{KEY}"):
        run.step("resolve_manifest", Strategy.CONCAT)


@pytest.mark.parametrize("body", [b"", b"PAR1", b"not parquet at all"])
def test_manifest_that_is_not_parquet(upstream, run, body):
    upstream.raw[KEY] = body
    upstream.upload()
    run.resolve()
    with pytest.raises(DataError, match=rf"expected a Parquet file, got {len(body)} bytes.*in s3://.*{KEY}"):
        run.step("resolve_manifest", Strategy.CONCAT)


def test_manifest_without_a_column(upstream, run):
    upstream.manifests[Strategy.CONCAT] = upstream.manifests[Strategy.CONCAT].drop(columns="shard_idx")
    upstream.upload()
    run.resolve()
    with pytest.raises(DataError, match="got none named shard_idx"):
        run.step("resolve_manifest", Strategy.CONCAT)
