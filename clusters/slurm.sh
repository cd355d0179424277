#!/usr/bin/env bash
# A sweep on a Slurm cluster: one job, with a Ray cluster of all its nodes while it runs. From a checkout on a shared file
# system in which `make setup` has created .venv:
#
#   sbatch --nodes=4 clusters/slurm.sh sweeps/zoo.yaml --out runs/zoo
#   tail -f phantom-dist-*.log
#
# The arguments after the script's name are those of `phantom-dist run`. A job that was stopped (time limit, preemption)
# loses no results: submit it again, and it continues. VENV, HEAD_IP and PORT can be set in the environment.
#
#SBATCH --job-name=phantom-dist
#SBATCH --output=%x-%j.log
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --time=04:00:00
#
# Whole nodes: at the end `ray stop` stops every Ray process of yours on them, so no other job should share them.
#SBATCH --exclusive
#
# For GPUs, remove one of the two # signs:
##SBATCH --gpus-per-node=1
set -euo pipefail

export PATH="${VENV:-$SLURM_SUBMIT_DIR/.venv}/bin:$PATH"
export RAY_USAGE_STATS_ENABLED=0

# A token for this job only. srun passes it to the nodes in the environment; it is not written to disk.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN

# This script runs on the job's first node, which becomes the head. The dashboard listens on its loopback only.
address=${HEAD_IP:-$(hostname -I | cut -d ' ' -f 1)}:${PORT:-6379}

# Nodes may take a while to load Python from a shared file system. At the end, workers notice that the head is gone and
# log many lines about it.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=120 RAY_gcs_rpc_server_reconnect_timeout_s=20

# srun starts this once on every node: the head runs the sweep, the others contribute their CPUs and GPUs until it ends.
exec srun --cpus-per-task="$SLURM_CPUS_ON_NODE" \
  ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" --num-cpus "$SLURM_CPUS_ON_NODE" -- \
  phantom-dist run "$@" --address "$address"
