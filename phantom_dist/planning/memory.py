"""Predicted memory of workers and ranks, from the model's sizes and, for lanes, a measured footprint."""

from __future__ import annotations

from phantom_dist.core.trial import Problem
from phantom_dist.engines.lanes.cost import AUTO, Chooser
from phantom_dist.engines.lanes.footprint import lane_bytes
from phantom_dist.engines.lanes.support import LaneKind, kinds_of
from phantom_dist.models import ModelMetadata
from phantom_dist.planning.sizes import tokens
from phantom_dist.scheduling.rank_group import RankGroup

WORKER_BYTES = 0.7e9
"""Memory (bytes) of a worker process before it loads a model."""

RANK_BYTES = 0.6e9
"""Memory (bytes) of a rank's process before it loads a model, DeepSpeed's buckets included."""


BLOCK = 4_000_000
"""Entries of a matrix that a rank gathers at a time (`engines.deepspeed_group.sharded_matrix`)."""


def process_bytes(
    problem: Problem,
    model: ModelMetadata,
    rank_group: RankGroup | None,
    lanes: int,
    chooser: Chooser,
) -> float:
    """Predicted peak memory (bytes) of each process that trains a problem in a batch of `lanes` lanes."""
    if rank_group is not None and rank_group.lanes:
        return shared_rank_bytes(problem, model, rank_group.ranks, -(-lanes // rank_group.ranks))
    if rank_group is not None:
        return rank_bytes(problem, model, rank_group.ranks, rank_group.stage)
    return worker_bytes(problem, model, lanes, chooser)


def worker_bytes(problem: Problem, model: ModelMetadata, lanes: int, chooser: Chooser = AUTO) -> float:
    """Predicted peak memory (bytes) of a worker: its process, the weights, and the larger of probing and training.

    A probe of full fine-tuning needs the weights, their untouched copy and two gradients. The dual form needs only the
    weights, but whether an architecture has one is known only once the model is loaded.
    """
    weights = model.parameters * bytes_per_parameter(problem)
    copies = weights * (2 if problem.method == "full" else 1)
    probing = 2 * weights if problem.method == "full" else 0.0
    return WORKER_BYTES + copies + max(probing, training_bytes(problem, model, lanes, chooser))


def training_bytes(problem: Problem, model: ModelMetadata, lanes: int, chooser: Chooser) -> float:
    """Predicted memory (bytes) of training so many trials in the cheapest way, beside the weights and their copy."""
    count, number = tokens(problem, model), bytes_per_parameter(problem)
    way = chooser.cheapest(problem, model.size, count, lanes)
    if way != "reference":
        return lanes * lane_bytes(way, problem, model.size, count, number)
    # One trial as a stacked or LoRA lane, which has its own weights where the reference has the model's.
    kind: LaneKind = "lora" if problem.method == "lora" else "stacked"
    own = number * model.parameters if kind == "stacked" else 0
    return lane_bytes(kind, problem, model.size, count, number) - own


def rank_bytes(problem: Problem, model: ModelMetadata, ranks: int, stage: int) -> float:
    """Predicted peak memory (bytes) of each rank of a group, which it reaches while it measures κ.

    Each rank holds its share of these copies of the trained parameters: the master copy, the untouched copy, the first
    direction, the optimizer's state, and the gradient. The gradient counts three times at stage 2 (received, averaged,
    passed to the optimizer) and once at stage 3. At stage 2 a rank holds all weights. At stage 3 it holds a share of
    them, and the gathered readout matrix with its gradient in three forms. Measured on SmolLM2-135M and two ranks: 2.6
    and 3.1 GB at stage 2 (SGD, AdamW), 2.2 GB at stage 3 (SGD), plus 0.1 GB of libraries. Of a training set's batch it
    holds the activations of its share of a pass: 17 numbers for each token, layer and width (Korthikanti et al. 2022,
    arXiv 2205.05198, without attention's own), and the logits in three forms.
    """
    number = bytes_per_parameter(problem)
    weights, trained = float(model.parameters), float(model.parameters)
    if problem.lora is not None:
        # Both factors, for four matrices per layer.
        trained = 8.0 * problem.lora.rank * model.width * model.layers
    shared = 6 + problem.optimizer.state_size
    whole = weights
    if stage == 3:
        shared -= 2
        whole = weights / ranks + 4 * model.vocabulary_size * model.width
    activations = 0.0
    if problem.training is not None:
        own = tokens(problem, model) / (problem.training.accumulate * ranks)
        activations = own * (17 * model.layers * model.width + 3 * model.vocabulary_size)
    return RANK_BYTES + number * (whole + shared * trained / ranks + activations)


def shared_rank_bytes(problem: Problem, model: ModelMetadata, ranks: int, lanes: int) -> float:
    """Predicted peak memory (bytes) of each rank that trains so many lanes of its own on one sharded model."""
    number = bytes_per_parameter(problem)
    way, count = kinds_of(problem)[0], tokens(problem, model)
    own = lane_bytes(way, problem, model.size, count, number)
    return RANK_BYTES + number * (model.parameters / ranks + BLOCK) + lanes * own


def lanes_of_rank(problem: Problem, model: ModelMetadata, ranks: int, rank_memory: float, most: int) -> int:
    """The largest number of lanes, up to `most`, that a rank with so much memory (bytes) can train; 0 for none."""
    empty, one = (shared_rank_bytes(problem, model, ranks, lanes) for lanes in (0, 1))
    return max(0, min(most, int((rank_memory - empty) // (one - empty))))


def lanes_that_fit(
    problem: Problem, model: ModelMetadata, worker_memory: float, most: int, chooser: Chooser
) -> int:
    """The largest number of lanes, up to `most`, that a worker with so much memory (bytes) can train at a time.

    0 if the memory doesn't suffice for one, or if so many are trained one after another.
    """
    for lanes in range(most, 0, -1):
        if chooser.cheapest(problem, model.size, tokens(problem, model), lanes) == "reference":
            return 0
        if worker_bytes(problem, model, lanes, chooser) <= worker_memory:
            return lanes
    return 0


def fits_worker(
    problem: Problem, model: ModelMetadata, worker_memory: float, chooser: Chooser = AUTO
) -> bool:
    """Whether a worker with so much memory (bytes) can train one trial."""
    return worker_bytes(problem, model, 1, chooser) <= worker_memory


def bytes_per_parameter(problem: Problem) -> int:
    """Bytes of one weight; of both copies where the forward pass has its own."""
    return {"bfloat16": 2, "float32": 4, "bfloat16-mixed": 6}[problem.precision]
