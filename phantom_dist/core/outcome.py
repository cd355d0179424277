"""The outcomes of a trial, and the thresholds between them (README.md of `instruments`)."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Outcome(StrEnum):
    """How a trial ended. The first five are results of training, in the order in which they are tested."""

    DIVERGED = "diverged"
    COMMITTED = "committed"
    RELAPSED = "relapsed"
    STRUCTURAL = "structural"
    KINEMATIC = "kinematic"
    # refused before training
    REFUSED_COMMITTED = "refused_committed"
    REFUSED_NOT_SYNONYM = "refused_not_synonym"
    REFUSED_TOKENS = "refused_tokens"
    # failures of the machine, not of the model
    OUT_OF_MEMORY = "out_of_memory"
    ERROR = "error"

    @property
    def trained(self) -> bool:
        """True if the trial was trained to its end, or until it diverged."""
        return self in _TRAINED

    @property
    def refused(self) -> bool:
        """True if the pair of model and context was refused before training."""
        return self.value.startswith("refused_")


_TRAINED = frozenset(
    {Outcome.DIVERGED, Outcome.COMMITTED, Outcome.RELAPSED, Outcome.STRUCTURAL, Outcome.KINEMATIC}
)


class Thresholds(BaseModel):
    """Settings by which a trace gets its outcome and jumps; stored with every result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    structural_drag: float = Field(
        default=0.01,
        gt=0,
        description="fall of the drag, delta_0 - delta_T, above which a failure is structural",
    )
    jump_size: float = Field(
        default=0.1,
        gt=0,
        description="smallest change of the order parameter in one step that is called a jump",
    )
    jump_share_of_range: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="smallest share of the trial's whole range of the order parameter",
    )
    # 3 would refuse one of the ten pairs of the pilot (" mad"/" angry" has 2.89 times the rms);
    # 2.75 accepts all ten and still rejects 99.7 % of random pairs in SmolLM2-135M.
    synonym_floor_rms: float = Field(
        default=2.75,
        gt=0,
        description="near-synonyms overlap (centred) by at least this many times the rms of the target's row",
    )
