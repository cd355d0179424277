"""The whole story: plan -> run -> refine -> repeat. Every command of the command line has its function here.

| file | what it does |
|---|---|
| `run` | `run`, `resume`, `cancel`: whose directory it is, which executor, then the course |
| `submit` | `run` on a cluster that this machine only sends to |
| `course` | the main path: probes, trials, refinement, until every critical rate is bracketed |
| `budget` | hours and trials after which a run stops in order |
| `plan` | what `run` would do, without doing it |
| `grouping` | which problems are trained by a group of ranks, and by how large a one |
| `cost` | predicted time and memory |
| `progress` | where a run stands, for the live view |
| `memory` | peak memory of the run's processes |
| `calibrate` | rows that a law is fitted to: what runs measured, with the path probed for it |
| `fit`, `predict` | a law from runs; critical rates from a law, without a sweep |
| `status` | the JSON object of a run directory, live or dead |
"""

from phantom_dist.campaign.fit import fit
from phantom_dist.campaign.plan import Plan, plan
from phantom_dist.campaign.predict import predict
from phantom_dist.campaign.progress import Progress
from phantom_dist.campaign.run import cancel, resume, run
from phantom_dist.campaign.status import status
from phantom_dist.campaign.submit import submit

__all__ = ["Plan", "Progress", "cancel", "fit", "plan", "predict", "resume", "run", "status", "submit"]
