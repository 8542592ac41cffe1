"""The widths upstream declares beside its fused vectors (schema.json)."""

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Modality


class FusedSchema(BaseModel):
    """Declared widths, in columns; what else the object says does not concern training."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    video_dim: int = Field(ge=1, description="Width of a video vector")
    audio_dim: int = Field(ge=1, description="Width of an audio vector")
    text_dim: int = Field(ge=1, description="Width of a text vector")
    fused_dim: int = Field(ge=1, description="Width of a fused vector, mask included")

    @property
    def modality_widths(self) -> dict[Modality, int]:
        """Declared width by modality."""
        return {Modality.VIDEO: self.video_dim, Modality.AUDIO: self.audio_dim, Modality.TEXT: self.text_dim}


def read_fused_schema(body: bytes, where: str) -> FusedSchema:
    """Parse schema.json.

    Raises:
        DataError: it is not JSON, or a width is absent or not a positive integer; names every problem.
    """
    try:
        return FusedSchema.model_validate_json(body)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'text'}: {item['msg']}" for item in error.errors())
        raise DataError(f"expected the declared widths as positive integers, got {problems}, in {where}") from error
