"""The baseline: the arrays of `bench.assembly` the way a first script gets them.

One boto3 ``download_file`` per object in turn into a temporary folder, ``np.load`` per vector; each shard is downloaded
once per date and part, and every row is one access to a member of the lazy ``.npz``, which reads the whole array again.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from botocore.exceptions import ClientError

from bench.errors import named_boto_errors
from clipfarm_tasks import keys
from clipfarm_tasks.errors import MissingObjectError
from clipfarm_tasks.families import Modality, Strategy
from clipfarm_tasks.models.inputs import F32

_NOT_FOUND = "404"


class FirstScript:
    """Downloads one object at a time from a bucket into a folder."""

    def __init__(self, client: Any, bucket: str, folder: Path, videos: int | None = None) -> None:
        """Prepare a script.

        Args:
            client: boto3 S3 client.
            bucket: the bucket.
            folder: where downloads go; must be empty for a cold run.
            videos: take only so many, those of the first shards; by default all.
        """
        self._client = client
        self._bucket = bucket
        self._folder = folder
        self._videos = videos

    def fused(self, strategy: Strategy) -> dict[str, F32]:
        """Fused vector (D,) by video of a strategy."""
        vectors = {}
        for row in self._manifest(strategy).itertuples():
            path = self._download(row.fused_key)
            if path is not None:
                vectors[str(row.video_id)] = np.load(path)["vectors"][row.shard_idx]
        return vectors

    def modalities(self, strategy: Strategy) -> dict[Modality, dict[str, F32]]:
        """Vector (D,) by modality and video; zeros for absent text, no video without video and audio vectors."""
        found: dict[Modality, dict[str, F32]] = {modality: {} for modality in Modality}
        for row in self._manifest(strategy).itertuples():
            paths = {
                modality: self._download(getattr(row, f"{modality}_emb_key"))
                for modality in Modality
                if modality is not Modality.TEXT or row.text_present
            }
            if paths[Modality.VIDEO] is None or paths[Modality.AUDIO] is None:
                continue
            for modality, path in paths.items():
                if path is not None:
                    found[modality][str(row.video_id)] = np.load(path)
        width = len(next(iter(found[Modality.TEXT].values())))
        for video_id in found[Modality.VIDEO]:
            found[Modality.TEXT].setdefault(video_id, np.zeros(width, np.float32))
        return found

    def everything(self) -> dict[str, F32]:
        """What `bench.assembly.assemble` returns, under the same names and in the same order of videos."""
        by_name: dict[str, dict[str, F32]] = {f"fused_{strategy}": self.fused(strategy) for strategy in Strategy}
        by_name |= {str(name): vectors for name, vectors in self.modalities(next(iter(Strategy))).items()}
        video_ids = sorted(set.intersection(*(set(vectors) for vectors in by_name.values())))
        return {name: stacked(vectors, video_ids) for name, vectors in by_name.items()}

    def _manifest(self, strategy: Strategy) -> pd.DataFrame:
        key = keys.fused_manifest(strategy)
        path = self._download(key)
        if path is None:
            raise MissingObjectError(f"expected the manifest {key} in bucket {self._bucket}, got no object")
        rows = latest_rows(path)
        return rows if self._videos is None else rows.sort_values(["fused_key", "shard_idx"]).head(self._videos)

    def _download(self, key: str) -> Path | None:
        """The object as a file, which is there already if it was wanted before; None if there is no such object.

        Raises:
            TransientError: the server refuses, or cannot be reached.
        """
        path = self._folder / key
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with named_boto_errors(f"s3://{self._bucket}/{key}"):
                try:
                    self._client.download_file(self._bucket, key, str(path))
                except ClientError as error:
                    if error.response["Error"]["Code"] == _NOT_FOUND:
                        return None
                    raise
        return path


def latest_rows(manifest: Path | BytesIO) -> pd.DataFrame:
    """The latest row of each video of a fused manifest."""
    return pd.read_parquet(manifest).sort_values("captured_at").drop_duplicates("video_id", keep="last")


def stacked(vectors: dict[str, F32], video_ids: list[str]) -> F32:
    """(N, D) out of N vectors."""
    return np.stack([vectors[video_id] for video_id in video_ids])
