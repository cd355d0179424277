"""Many trials as one: trials that share a model become the *lanes* of one batch.

A fused model is the transformers model with its parameterised leaves replaced by lane-aware ones; activations carry
the lanes in their first axis. Everything else (attention, rotary positions, activations) is the model's own code.

| file | what it is |
|---|---|
| `engine` | the engine `lanes`: batches of trials, retirement, the fall-back to the reference |
| `training` | the loop over steps; read it after `engines/single.py` |
| `fuse` | the model with its leaves replaced, and the way back |
| `alone` | what lanes may share a batch: a lane is what its trial is alone |
| `leaves/` | one file per kind of leaf, and the line that registers it |
| `kind` | what a leaf may ask for: matrices and vectors that differ from lane to lane |
| `stacked` | full fine-tuning, any optimizer: every lane has weights of its own |
| `dual` | full fine-tuning, SGD: no lane has weights of its own (the dual form) |
| `dual_matrix`, `dual_readout`, `tape` | its matrices, its readout and that one's geometry, and what they remember |
| `dual_coordinates` | the dual form for probes: points that a few gradients lead to |
| `lora` | adapters per lane, weights shared |
| `choice` | which kind trains a problem |
| `parameters`, `optimizer` | what a lane does have for itself, one row a lane, and the optimizer step of all rows |
| `own_rows` | the rows of an embedding that a lane's prompt looks up |
| `lane_buffers` | lanes are kept or multiplied in place |
| `sgd_coefficients` | SGD with momentum and weight decay as a linear combination of gradients |
| `footprint` | the memory that lanes take |

Legend of tensor suffixes: L lanes, K tokens, V vocabulary, d width, i and o a matrix's input and output width, s
steps so far, R = s K their tokens.
"""

from phantom_dist.engines.lanes.engine import LanesEngine

__all__ = ["LanesEngine"]
