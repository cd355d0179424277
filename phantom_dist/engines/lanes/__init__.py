"""Many trials trained as one batch: trials that share a model become its *lanes*.

A fused model is the transformers model with its parameterised leaves replaced by lane-aware ones; activations carry
the lanes in their first axis. Everything else (attention, rotary positions, activations) is the model's own code.

| file | what it is |
|---|---|
| `engine` | the engine `lanes`: splits trials into batches, falls back to the reference |
| `training` | the loop over steps; read it after `engines/single.py` |
| `set_training` | the same loop for lanes that train the batches of a training set |
| `fuse` | replaces the model's leaves, and restores them |
| `isolation` | checks that lanes equal solo runs: which lengths may share a batch, whether lanes mix |
| `leaves/` | one file per kind of leaf, and the line that registers it |
| `kind` | the interface for leaves: matrices and vectors that differ from lane to lane |
| `stacked` | full fine-tuning, any optimizer: every lane has weights of its own |
| `dual` | full fine-tuning, SGD: no lane has weights of its own (the dual form) |
| `dual_matrix`, `dual_readout`, `tape` | the dual form's matrices, its readout and geometry, and its history of steps |
| `dual_coordinates` | the dual form for probes: points in the span of a few gradients |
| `lora` | adapters per lane, weights shared |
| `support` | which kinds can train a problem |
| `choice` | the lanes of a batch, of a kind |
| `cost` | predicts the time of a trial-step; the cheapest way trains |
| `frozen_matrix` | a matrix that no lane changes: whole, or in shards over a group of ranks |
| `lockstep` | how the ranks that share a sharded model keep step |
| `parameters`, `optimizer` | tensors of each lane's own, one row a lane, and the optimizer step of all rows |
| `own_rows` | the rows of an embedding that a lane's prompt looks up |
| `lane_buffers` | selects and repeats lanes in place |
| `sgd_coefficients` | SGD with momentum and weight decay as a linear combination of gradients |
| `footprint` | predicts the memory of a lane |

Tensor suffixes: L lanes, K tokens, V vocabulary, d width, i and o a matrix's input and output width, T all steps, s
steps so far, R = s K their tokens.
"""
