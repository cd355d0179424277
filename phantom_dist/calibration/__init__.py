"""Fit a law to runs, and predict critical rates with a law instead of a sweep.

| file | what it does |
|---|---|
| `calibrate` | calibration rows: the critical rates of runs, each with its probed path |
| `lora_sufficiency` | counts of LoRA sufficiency from runs, for the law's second quantity |
| `fit` | `fit`: a law from runs and a prior law |
| `predict` | `predict`: a model's critical rates from a law |
| `predicted_training` | on a data set: what follows for all words of a training, and where defaults lie |
| `predicted_rate` | the prediction for one context |
| `kept_predictions` | a file that stores predictions as they are made, to resume from |
"""
