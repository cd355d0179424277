"""From runs to a law, and from a law to critical rates without a sweep.

| file | what it does |
|---|---|
| `calibrate` | rows that a law is fitted to: what runs measured, with the path probed for it |
| `lora_sufficiency` | where LoRA sufficed: counts from runs, for the law's second quantity |
| `fit` | `fit`: a law from runs and from a prior law |
| `predict` | `predict`: critical rates of a model from a law |
| `predicted_rate` | what it predicts of one context |
| `kept_predictions` | predictions kept in a file as they are made |
"""
