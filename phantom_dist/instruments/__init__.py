"""The quantities measured at each step: one formula per file, with its symbols (README.md of this folder).

| symbol | file | meaning |
|---|---|---|
| z, p, g | `readout` | logits of the last position, probabilities, the logit gap z_t - z_c |
| | `word_prompts` | loss and gap of words of several tokens |
| | `bulk` | statistics of all overlaps |
| S_ti, S_ci, S_tc | `overlap` | cosines of readout rows; centred ones tell near-synonyms from unrelated words |
| Φ, ρ | `order_parameter` | the density matrix's weight on the target minus its weight on the competitor |
| σ | `signal` | commitment to the target over its competitor |
| δ | `drag` | how the bulk of the vocabulary leaks probability into Φ |
| ΔΦ | `shares` | readout's and geometry's shares of a change of Φ |
| | `drift` | how far the readout matrix moved, and a hash of its bytes |
| κ | `kernel_rate` | the gap's rate |
| T, Π | `effective_steps` | the effective number of steps, the dimensionless learning rate |
| | `jumps`, `outcome` | the jump and the outcome of a finished trace |
| | `forecast` | whether an outcome is decided before the last step |
| | `plugin_instruments` | instruments that other packages add |

The names signal, drag and order parameter are those of arXiv 2606.07559; the formulas are this project's
reconstruction from its abstract and are not the paper's text.

Tensor suffixes: V vocabulary, d width (`readout_Vd`). `...` in a shape stands for any leading batch axes.
"""
