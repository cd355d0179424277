"""Who runs what and how often: pure decisions, and two executors that carry them out.

| file | what it does |
|---|---|
| `tasks` | the two kinds of work: probe problems, train a batch |
| `ledger` | every task's life: events in, commands out; retries, halves, models kept warm |
| `driver` | the one loop that executes the ledger's commands |
| `journal` | what the loop does, as events |
| `timeline` | what the events amount to: attempts, and where the time went |
| `place` | where a worker runs |
| `worker` | what a worker does with a task: load, train, store |
| `worker_kind`, `rank_group` | workers that are alike, and workers of several processes, as data |
| `cluster` | the interface of what workers run on: kinds of workers, and executors |
| `executor` | the interface of executors |
| `inprocess`, `ray_executor` | tasks in this process, or in long-lived Ray actors |
| `this_machine`, `ray_cluster` | the workers that this machine, or a Ray cluster, has room for |
| `ray_job`, `job_server` | a command as a Ray job on a cluster; what speaking to its job server can come to |
| `event_loop` | asynchronous streams for synchronous code |
| `address`, `ray_place` | which Ray a run goes to; where Ray puts its files here, and which cluster `auto` means |
| `ray_group`, `rank` | several actors that train one large model and behave as one worker; what each of them does |

Modules named `ray_…` and `job_server` alone import ray.
"""
