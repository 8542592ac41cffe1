"""Pin what a run is made of: parameters, input versions, code. The only step that reads the clock or the params."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import BaseModel

from clipfarm_tasks import keys
from clipfarm_tasks.code_version import code_version
from clipfarm_tasks.config import PinnedObject, RunConfig, RunInputs, RunParams
from clipfarm_tasks.contracts import RunRecord
from clipfarm_tasks.data.features import check_extra_features
from clipfarm_tasks.errors import ConfigError, MissingObjectError
from clipfarm_tasks.storage import Store
from clipfarm_tasks.storage.documents import parse_document, read_own
from clipfarm_tasks.vectors.table import VectorTable

log = logging.getLogger(__name__)
_SUFFIX = 8


def resolve_run(store: Store, params: Mapping[str, Any], source_run_id: str, as_of: str | None = None) -> RunRecord:
    """Create the run's config, or find the one that an earlier attempt created.

    The same params, inputs and code give the same digest and reuse the run. Anything else under a taken id becomes a
    new run, with the digest's head as suffix.

    Raises:
        ConfigError: a parameter is wrong (all problems in one message), or the bucket cannot be used.
        MissingObjectError: there is no metadata.
    """
    chosen = RunParams.parse(params)
    check_extra_features(chosen.extra_features)
    store.check_bucket()
    inputs = _pin_inputs(store, chosen)
    code = code_version()
    digest = RunConfig.digest_of(chosen, inputs, code)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    base = keys.safe_run_id(source_run_id)
    for run_id, supersedes in ((base, None), (f"{base}-{digest[:_SUFFIX]}", base)):
        config = RunConfig(
            run_id=run_id,
            digest=digest,
            params=chosen,
            inputs=inputs,
            code=code,
            table_versions=_table_versions(store, chosen),
            resolved_at=now,
            as_of=as_of or now,
            source_run_id=source_run_id,
            supersedes=supersedes,
        )
        key = keys.run_config(run_id)
        if store.create(key, config.model_dump_json(indent=2).encode()) or _standing_digest(store, key) == digest:
            log.info("resolve_run: %s with digest %s", store.uri(key), digest)
            return _record(run_id, digest, chosen)
    raise ConfigError(f"expected run id {base!r} free or of digest {digest}, got another run: choose another id")


class _Standing(BaseModel):
    """The part of a run's config that every release has."""

    digest: str


def _standing_digest(store: Store, key: str) -> str:
    """Digest of the run that has this id; also of one that another release of the code resolved."""
    return read_own(store, key, partial(parse_document, _Standing)).digest


def _record(run_id: str, digest: str, params: RunParams) -> RunRecord:
    return RunRecord(
        run_id=run_id,
        config_key=keys.run_config(run_id),
        digest=digest,
        strategies=params.strategies,
        horizons=params.horizons,
        models=params.models,
    )


def _pin_inputs(store: Store, params: RunParams) -> RunInputs:
    metadata = _pin(store, keys.METADATA_CSV)
    if metadata is None:
        raise MissingObjectError(f"expected the metadata CSV at {store.uri(keys.METADATA_CSV)}, got no object")
    return RunInputs(
        metadata=metadata,
        manifests={strategy: _pin(store, keys.fused_manifest(strategy)) for strategy in params.strategies},
        schemas={strategy: _pin(store, keys.fused_schema(strategy)) for strategy in params.strategies},
    )


def _pin(store: Store, key: str) -> PinnedObject | None:
    info = store.head(key)
    return None if info is None else PinnedObject(key=key, etag=info.etag, size=info.size)


def _table_versions(store: Store, params: RunParams) -> dict[str, int]:
    tables = [keys.fused_table(strategy) for strategy in params.strategies] + [keys.modalities_table()]
    found = {key: VectorTable(store, key).version() for key in tables}
    return {key: version for key, version in found.items() if version is not None}
