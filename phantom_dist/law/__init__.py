"""The law predicts a critical learning rate, with an interval, from measurements at a few points of a training path.

| file | what it does |
|---|---|
| `law` | the law: closure, intervals and domain for each training class; read it first |
| `law_input`, `calibration_row` | the formula's inputs for a problem; a measured critical rate to fit laws to |
| `groups` | the dimensionless groups |
| `closure` | the fitted correction |
| `intervals` | conformal prediction intervals |
| `domain` | the calibrated domain of a class, and why a problem is outside it |
| `validation` | errors on architectures left out |
| `sufficiency_split` | LoRA sufficiency: does a statistic of the readout predict it? |
| `file`, `file_format` | read and write law files, including the shipped one |
"""
