"""Pin what a run is made of: parameters, input versions, code. The only step that reads the clock or the params."""

import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import BaseModel

from clipfarm_tasks import keys
from clipfarm_tasks.code_version import code_version
from clipfarm_tasks.config import RunParams
from clipfarm_tasks.contracts import RunRecord
from clipfarm_tasks.data.features import check_extra_features
from clipfarm_tasks.errors import ConfigError, MissingObjectError, TransientError
from clipfarm_tasks.run_config import PinnedObject, RunConfig, RunInputs
from clipfarm_tasks.steps.complete_runs import text_present_of_newest
from clipfarm_tasks.storage import Store
from clipfarm_tasks.storage.documents import parse_document, read_own
from clipfarm_tasks.tuning.preset_file import parse_presets

log = logging.getLogger(__name__)
_SUFFIX = 8
_ROUNDS = 5  # tries to copy inputs that upstream overwrites again and again


def resolve_run(store: Store, params: Mapping[str, Any], source_run_id: str, as_of: str | None = None) -> RunRecord:
    """Create the run's config, or find the one that an earlier attempt created.

    The same params, inputs and code give the same digest and reuse the run. Anything else under a taken id becomes a
    new run, with the digest's head as suffix. The input objects are copied into the run's folder, so that nothing
    changes under the run whatever upstream writes from now on.

    Raises:
        ConfigError: a parameter is wrong (all problems in one message), or the bucket cannot be used.
        MissingObjectError: there is no metadata, or no preset file of the version asked for.
        DataError: the preset file has a family or a value that this code does not allow.
        TransientError: upstream overwrote an input at every try to copy it.
    """
    chosen = RunParams.parse(params)
    check_extra_features(chosen.extra_features)
    store.check_bucket()
    code = code_version()
    for _ in range(_ROUNDS):
        inputs = _pin_inputs(store, chosen)
        digest = RunConfig.digest_of(chosen, inputs, code)
        run_id, supersedes, is_new = _free_or_own_id(store, keys.safe_run_id(source_run_id), digest)
        if is_new:
            copies = _copies(store, run_id, inputs)
            if copies is None:
                continue
            now = datetime.now(UTC)
            resolved_at = now.isoformat(timespec="seconds")
            config = RunConfig(
                run_id=run_id,
                digest=digest,
                params=chosen,
                inputs=inputs,
                code=code,
                copies=copies,
                has_ensemble=True,
                text_present_before=text_present_of_newest(store, chosen.strategies, now),
                resolved_at=resolved_at,
                as_of=as_of or resolved_at,
                source_run_id=source_run_id,
                supersedes=supersedes,
            )
            if not store.create(keys.run_config(run_id), config.model_dump_json(indent=2).encode()):
                continue  # another attempt was faster; the next round finds what it created
        log.info("resolve_run: %s with digest %s", store.uri(keys.run_config(run_id)), digest)
        return _record(run_id, digest, chosen)
    raise TransientError(
        f"expected the inputs of run {source_run_id!r} to stand still while they are copied, got them overwritten "
        f"{_ROUNDS} times, in {store.uri(keys.METADATA_CSV)} or a manifest"
    )


class _Standing(BaseModel):
    """The part of a run's config that every release has."""

    digest: str


def _free_or_own_id(store: Store, base: str, digest: str) -> tuple[str, str | None, bool]:
    """The id of the run, the id that it supersedes, and whether its config has still to be created."""
    for run_id, supersedes in ((base, None), (f"{base}-{digest[:_SUFFIX]}", base)):
        try:
            standing = read_own(store, keys.run_config(run_id), partial(parse_document, _Standing)).digest
        except MissingObjectError:
            return run_id, supersedes, True
        if standing == digest:
            return run_id, supersedes, False
    raise ConfigError(f"expected run id {base!r} free or of digest {digest}, got another run: choose another id")


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
        presets=params.preset_version and _pin_presets(store, params.preset_version),
    )


def _pin_presets(store: Store, version: int) -> PinnedObject:
    key = keys.presets(version)
    pinned = _pin(store, key)
    if pinned is None:
        known = sorted(filter(None, (keys.presets_version(info.key) for info in store.list(keys.PRESETS))))
        raise MissingObjectError(
            f"expected preset_version to be one of {', '.join(map(str, known)) or 'none'}, got {version}: there is no "
            f"object at {store.uri(key)}"
        )
    parse_presets(store.get(key, pinned.etag, pinned.size), store.uri(key))
    return pinned


def _pin(store: Store, key: str) -> PinnedObject | None:
    info = store.head(key)
    return None if info is None else PinnedObject(key=key, etag=info.etag, size=info.size)


def _copies(store: Store, run_id: str, inputs: RunInputs) -> dict[str, PinnedObject] | None:
    """Copy every input object within the bucket; None if one was overwritten or removed meanwhile."""
    attempt = uuid.uuid4().hex[:16]
    copies: dict[str, PinnedObject] = {}
    for original in (inputs.metadata, *inputs.manifests.values(), *inputs.schemas.values(), inputs.presets):
        if original is None:
            continue
        copy = _copy(store, original, keys.run_input(run_id, original.key, attempt))
        if copy is None:
            store.delete([keys.run_input(run_id, key, attempt) for key in (*copies, original.key)])
            return None
        copies[original.key] = copy
    return copies


def _copy(store: Store, original: PinnedObject, target: str) -> PinnedObject | None:
    """The copy, which is of the pinned version if the original still is: it was made in between."""
    try:
        store.copy(original.key, target, original.size)
    except MissingObjectError:
        return None
    copy = _pin(store, target)
    return copy if copy and copy.size == original.size and _pin(store, original.key) == original else None
