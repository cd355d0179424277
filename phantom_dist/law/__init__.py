"""The law: numbers measured on a few points of a path in, a critical learning rate with an interval out.

| file | what it does |
|---|---|
| `law` | a law: for each class its closure, its intervals and its domain; read it first |
| `law_input`, `calibration_row` | what the formula reads of a problem; one measured rate that laws are fitted to |
| `groups` | the dimensionless groups |
| `closure` | the fitted part |
| `intervals` | conformal intervals |
| `domain` | where a class was calibrated, and why a problem is outside |
| `validation` | leave one architecture out |
| `sufficiency_split` | does a statistic of the readout tell whether LoRA suffices? |
| `file`, `file_format` | the shipped law, and any other |
"""
