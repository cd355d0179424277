"""The monitor's settings and thresholds, with the reason for each; none was fitted to a run.

A warning is a forecast: the loss on the watched word has fallen, yet at the present pace the gap will not have closed
when training ends. The pace is the gap's slope over the sum of learning rates, so that warm-up and decay don't look
like a change of pace. Each assumption favours the run: the pace may still rise, an unknown schedule keeps its present
rate, and noise counts as progress. A warning means that even under these assumptions the right word does not overtake.
Once training is over there is nothing to forecast, and an open gap is reported at once.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from phantom_dist.core.outcome import Thresholds


class MonitorSettings(BaseModel):
    """Settings of a monitor; frozen, passed by keyword."""

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
        description="largest share of the training time that the monitor may take; looks get rarer to stay within it",
    )
    # Five looks suffice for a line, its noise and a streak. In the first quarter of the steps, warm-up and, under LoRA,
    # the growth of the factor that starts at zero make the pace unrepresentative of the rest.
    fewest_looks: int = Field(default=5, ge=3, description="looks before the first judgement")
    judged_from: float = Field(
        default=0.25, ge=0, lt=1, description="share of the training before the first judgement"
    )
    # The failure is silent only where the loss looks healthy. A fall by a twentieth is more than the noise from batch
    # to batch, and far less than what learning the context brings.
    loss_fall: float = Field(
        default=0.05, ge=0, lt=1, description="share of its first value by which the loss must have fallen"
    )
    # In the pilot, half-way to the crossing the gap's rate was 0.77 to 2.7 times the initial one under AdamW (0.68 to
    # 1.24 under SGD). The forecast uses the pace of the last half of τ, so a factor of two is ample where the pace is
    # steady. Under LoRA it is not, since one factor grows from zero. So the forecast multiplies by the growth from the
    # first half of τ to the second as well (`forecast.Line.growth`).
    speed_up: float = Field(
        default=2.0, ge=1, description="how many times as fast as recently the gap may still close"
    )
    noise: float = Field(
        default=2.0, ge=0, description="how many standard deviations about the line count as progress"
    )
    # A single look may follow an unlucky batch; three in a row span at least two intervals.
    streak: int = Field(default=3, ge=1, description="how many consecutive looks must agree before a warning")
    thresholds: Thresholds = Field(
        default=Thresholds(),
        description="what counts as a structural failure and as near-synonyms, as in a sweep",
    )
