#!/usr/bin/env bash
# A sweep on a Slurm cluster: one job, a Ray cluster of all its nodes for as long as it runs. From a checkout on a shared
# file system, where `make setup` has made .venv:
#
#   sbatch --nodes=4 clusters/slurm.sh sweeps/zoo.yaml --out runs/zoo
#   tail -f phantom-dist-*.log
#
# What follows the script's name is what follows `phantom-dist run`. A job that was ended (time limit, preemption) has lost
# nothing: send it again, and it continues. VENV, HEAD_IP and PORT can be set in the environment.
#
#SBATCH --job-name=phantom-dist
#SBATCH --output=%x-%j.log
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --time=04:00:00
#
# Whole nodes: at the end `ray stop` ends every Ray process of yours on them, so they had better all be this job's.
#SBATCH --exclusive
#
# For GPUs, take away one of the two # signs:
##SBATCH --gpus-per-node=1
set -euo pipefail

export PATH="${VENV:-$SLURM_SUBMIT_DIR/.venv}/bin:$PATH"
export RAY_USAGE_STATS_ENABLED=0

# A token for this job alone. It goes to the nodes in srun's environment, is written nowhere, and ends with the job.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN

# This script runs on the job's first node, which becomes the head. The dashboard stays on its loopback.
address=${HEAD_IP:-$(hostname -I | cut -d ' ' -f 1)}:${PORT:-6379}

# Nodes may take a while to load Python from a shared file system. Workers notice the end by the head's being gone, and
# say so at length in the log.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=120 RAY_gcs_rpc_server_reconnect_timeout_s=20

# srun starts this once on every node: the head runs the sweep, the others lend their CPUs and GPUs until it is done.
exec srun --cpus-per-task="$SLURM_CPUS_ON_NODE" \
  ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" --num-cpus "$SLURM_CPUS_ON_NODE" -- \
  phantom-dist run "$@" --address "$address"
