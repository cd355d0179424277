"""What a finished training did to each word, from the checkpoint or the adapter alone.

| file | role |
|---|---|
| `diagnose` | `diagnose`: both models, their words, and the result |
| `words` | the words before and after, and the verdict on each |
| `whole_change` | whether a merged adapter explains the change of all weights: merged twice, or another base |
| `trainer_state` | the learning rates that a trainer recorded beside the checkpoint |
"""

from phantom_dist.diagnosis.diagnose import DiagnoseResult, diagnose
from phantom_dist.diagnosis.words import DiagnosedWord, Verdict

__all__ = ["DiagnoseResult", "DiagnosedWord", "Verdict", "diagnose"]
