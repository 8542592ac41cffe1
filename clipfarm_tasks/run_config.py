"""What a run is made of (`RunConfig`): its parameters, the versions of its inputs, its code, and their digest."""

import hashlib
import json

from pydantic import Field

from clipfarm_tasks.config import Frozen, RunParams
from clipfarm_tasks.families import ModelName, Strategy, model_names


class PinnedObject(Frozen):
    """One version of an input object."""

    key: str = Field(description="S3 key")
    etag: str = Field(description="ETag at the time the run was resolved")
    size: int = Field(description="Bytes")


class RunInputs(Frozen):
    """Input objects of a run; a manifest or schema that was absent is null."""

    metadata: PinnedObject = Field(description="Horizon-labelled metadata CSV")
    manifests: dict[Strategy, PinnedObject | None] = Field(description="Fused manifest by strategy")
    schemas: dict[Strategy, PinnedObject | None] = Field(description="Declared widths by strategy")
    presets: PinnedObject | None = Field(default=None, description="Preset file the run names, if any")


class CodeVersion(Frozen):
    """Which code a run executes."""

    package: str = Field(description="Version of clipfarm_tasks")
    git_sha: str = Field(description="Commit, or 'unknown' outside a checkout")
    source_sha256: str = Field(description="Digest of the package's source, hex; what decides whether code is the same")


class RunConfig(Frozen):
    """Everything a run is made of; written once by resolve_run, read by every other task."""

    run_id: str = Field(description="Id used in every key of the run")
    digest: str = Field(description="sha256 of what decides the results: params, inputs, code")
    params: RunParams = Field(description="Effective parameters")
    inputs: RunInputs = Field(description="Pinned input objects")
    code: CodeVersion = Field(description="Code that runs")
    copies: dict[str, PinnedObject] = Field(
        default={}, description="The run's own copies of its input objects, by the key of the original"
    )
    text_present_before: float | None = Field(
        default=None, description="Fraction of the videos that had a text vector in the last complete run (0 to 1)"
    )
    has_ensemble: bool = Field(
        default=False,
        description="Whether a pair of several families has an ensemble; runs of earlier releases have none",
    )
    resolved_at: str = Field(description="UTC time of resolution, ISO 8601; the only clock reading of the run")
    as_of: str = Field(description="Logical date, else the time the run was due, ISO 8601")
    source_run_id: str = Field(description="Run id as Airflow or the command line gave it")
    supersedes: str | None = Field(default=None, description="Run id that had other inputs or params, if any")

    @property
    def models(self) -> tuple[ModelName, ...]:
        """The models of each pair: its families, and their ensemble."""
        return model_names(self.params.models) if self.has_ensemble else self.params.models

    def kept(self, pinned: PinnedObject) -> PinnedObject:
        """The run's own copy of an input object; the original in a run of a release that made no copies."""
        return self.copies.get(pinned.key, pinned)

    @staticmethod
    def digest_of(params: RunParams, inputs: RunInputs, code: CodeVersion) -> str:
        """sha256 (hex) of the canonical JSON of what decides a run's results.

        Vector tables are not part of it: their versions are settled later, by the first task that needs each.
        """
        content = {
            "params": params.model_dump(mode="json"),
            "inputs": inputs.model_dump(mode="json"),
            # Not the commit: the same source may come from a checkout, an image or another branch.
            "source": code.source_sha256,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
