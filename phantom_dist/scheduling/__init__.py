"""Scheduling: a pure state machine that decides what runs where, and two executors that run it.

| file | what it does |
|---|---|
| `tasks` | the two kinds of work: probe problems, train a batch |
| `ledger` | the state machine of all tasks: retries, splits, copies, loaded models |
| `messages` | the ledger's events and commands |
| `task_queue`, `worker_memory`, `pace` | waiting tasks; memory of workers; measured over predicted time |
| `driver` | the loop that executes the ledger's commands |
| `journal` | records what the loop does as events |
| `timeline`, `timeline_reader` | a run's attempts and where its time went, and how they are read from the events |
| `place` | the process and host of a worker |
| `worker` | what a worker does with a task: load, train, store |
| `worker_kind`, `rank_group` | equal workers, and workers of several processes, as data |
| `cluster` | the interface of clusters: kinds of workers, and executors |
| `executor` | the interface of executors |
| `inprocess`, `ray_executor`, `ray_worker` | tasks in this process, or in long-lived Ray actors |
| `this_machine`, `ray_cluster` | how many workers this machine, or a Ray cluster, can hold |
| `ray_job`, `job_server` | a command as a Ray job on a cluster; errors of the cluster's job server |
| `event_loop` | reads asynchronous streams from synchronous code |
| `address`, `ray_place` | which Ray a run uses; Ray's folder on this machine, and the cluster that `auto` means |
| `ray_failures` | which event an exception of Ray's is, and whether to start a worker again |
| `ray_group`, `rank` | several actors that train one large model as one worker; one of these actors |

Only `job_server` and the modules named `ray_…` import ray.
"""
