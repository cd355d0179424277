"""Training data: files of examples, and their tokens in batches.

| file | what it does |
|---|---|
| `reading` | reads, checks and hashes a file: JSON lines, Parquet, or a folder saved by `datasets` |
| `examples` | the forms of an example, and its canonical text |
| `batches` | the batches of a training set for one tokenizer, as TRL makes them |
| `of_sweep` | a sweep whose training data have been read |
| `sample` | a few examples that stand for a whole training |
"""

from phantom_dist.data.batches import Batch, Batches, Examples
from phantom_dist.data.reading import TrainingData, read_data

__all__ = ["Batch", "Batches", "Examples", "TrainingData", "read_data"]
