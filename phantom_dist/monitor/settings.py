"""The monitor's settings and thresholds, with the argument for each; none was fitted to a run.

A silent failure is a forecast: the loss on the watched word has fallen, yet at its pace the gap will not be closed when
training ends. The pace is the gap's slope over the sum of learning rates, so warm-up and decay don't look like a change
of it. Every doubt is settled for the run: the future may be faster than the past, an unknown schedule stays as high as
it is now, and noise counts as progress. A warning says that even so the right word does not overtake. When training is
over there is nothing to forecast: a gap that is open then is told at once.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from phantom_dist.core.outcome import Thresholds


class MonitorSettings(BaseModel):
    """Settings of a monitor; frozen, by keyword."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: int | None = Field(
        default=None,
        gt=0,
        description="steps between two looks; None: a fiftieth of the training, or 10 where its length is unknown",
    )
    budget: float = Field(
        default=0.02,
        gt=0,
        le=1,
        description="largest share of the time of training that looking may take; looks get rarer to keep it",
    )
    # Five looks carry a line, its noise and a streak; before a quarter of the steps warm-up and, under LoRA, the
    # growth of the factor that starts at zero make the pace of the start no measure of the rest.
    fewest_looks: int = Field(default=5, ge=3, description="looks before the first judgement")
    judged_from: float = Field(
        default=0.25, ge=0, lt=1, description="share of the training before the first judgement"
    )
    # The loss on the word must have fallen as one that looks healthy does: a twentieth is above its noise from one
    # batch to the next and far below what learning the context at all brings.
    loss_fall: float = Field(
        default=0.05, ge=0, lt=1, description="share of its first value by which the loss must have fallen"
    )
    # Half-way to the crossing the gap's rate was 0.77 to 2.7 times that of the start in the pilot under AdamW (0.68
    # to 1.24 under SGD). What is left of a training is compared with the half before, so twice the pace is ample where
    # the pace is steady. Under LoRA it is not: one factor grows from zero. So the growth from the first half of τ to
    # the second is granted once more on top (`forecast.Line.growth`).
    speed_up: float = Field(
        default=2.0, ge=1, description="how many times as fast as lately the gap may yet close"
    )
    noise: float = Field(
        default=2.0, ge=0, description="standard deviations about the line that count as progress"
    )
    # One look may follow an unlucky batch; three in a row are at least three intervals of steps.
    streak: int = Field(default=3, ge=1, description="looks in a row that must agree before a warning")
    thresholds: Thresholds = Field(
        default=Thresholds(),
        description="what counts as structural and as near-synonyms, as elsewhere in phantom_dist",
    )
