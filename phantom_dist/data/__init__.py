"""Training data: files of examples, and their tokens in batches."""

from phantom_dist.data.batches import Batch, Batches, Examples
from phantom_dist.data.reading import TrainingData, read_data

__all__ = ["Batch", "Batches", "Examples", "TrainingData", "read_data"]
