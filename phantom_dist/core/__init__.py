"""Types that every layer shares: quantities, trials, measurements, outcomes, errors.

| file | contents |
|---|---|
| `quantities` | every column: name, symbol, unit, range, meaning |
| `trial` | problems, and the content address of a trial |
| `schedule` | schedules of the learning rate |
| `tokens` | a context as token ids |
| `training_set` | a data set that is trained on in batches |
| `frozen` | the base class of settings that enter content addresses |
| `probe_result` | the result of probing a problem on the untouched model: `Measured` or `Refused` |
| `measurement` | an engine's input and output: trials, measurements, results |
| `outcome` | the outcomes of a trial, and the thresholds between them |
| `problem_columns`, `summaries` | the parts of a stored row that decisions read |
| `result` | base class of the records that public functions return |
| `events`, `activity` | events of a run; what a process is doing |
| `errors` | errors, named by what their handler does next |
| `container` | what a container may use of the machine, and free memory |
| `imports` | imports that take seconds |
| `plugins` | entry points of other packages |
| `divided_differences`, `whole_file` | Newton's divided differences; atomic writing of files |

This package imports only the standard library and pydantic, so processes without torch can use it.
"""
