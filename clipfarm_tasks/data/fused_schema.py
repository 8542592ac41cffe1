"""The widths upstream declares beside its fused vectors (schema.json)."""

from pydantic import BaseModel, ConfigDict, Field

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
