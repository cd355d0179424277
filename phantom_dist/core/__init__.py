"""The words that every layer shares: quantities, trials, measurements, outcomes, errors.

| file | what it holds |
|---|---|
| `quantities` | every column: name, symbol, unit, range, meaning |
| `trial` | a trial, its problem, and its content-addressed name |
| `probe_result` | what the untouched model says of a problem: `Measured` or `Refused` |
| `measurement` | what an engine takes and yields |
| `outcome` | how a trial can end, and the thresholds |
| `problem_columns`, `summaries` | what decisions read of a stored row |
| `result` | what a public function returns |
| `events`, `activity` | what happened in a run; what a process is doing |
| `errors` | errors, named by what their handler does next |
| `plugins` | what other packages add |
| `divided_differences`, `whole_file` | Newton's divided differences; files that appear whole or not at all |

Imports nothing but the standard library and pydantic, so any process, with or without torch, can speak them.
"""
