#!/usr/bin/env bash
# A Ray cluster of two nodes on this machine, to try out a cluster without a second machine.
#
#   clusters/local.sh start [CPUS]     two raylets with CPUS cores each (default 1); prints how to use them
#   clusters/local.sh status           shows the cluster's nodes and resources
#   clusters/local.sh stop             stops these two nodes, and no other Ray process
#
# The nodes' address is 127.0.0.1; Ray's control store (GCS) still listens on all interfaces. All ports require
# Ray's token (~/.ray/auth_token, created if it does not exist). PORT, the port of the head node, and STATE, the folder for
# process ids and logs, can be set in the environment.
set -euo pipefail

PORT=${PORT:-6389}
STATE=${STATE:-${XDG_RUNTIME_DIR:-${TMPDIR:-/tmp}}/phantom-dist-cluster-$(id -u)}
ADDRESS=127.0.0.1:$PORT
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PATH="$here/.venv/bin:$PATH" RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0

# `--block` keeps each node under one process, so that it can be stopped by its process id.
node() { # NAME, arguments of `ray start`
  local name=$1
  shift
  setsid ray start --block --node-ip-address=127.0.0.1 --num-gpus=0 "$@" >"$STATE/$name.log" 2>&1 &
  echo $! >"$STATE/$name.pid"
}

start() {
  if compgen -G "$STATE/*.pid" >/dev/null; then
    echo "A cluster of this script is running already (see $STATE); stop it with: $0 stop" >&2
    exit 1
  fi
  mkdir -p "$STATE"
  (umask 077 && ray get-auth-token --generate >/dev/null 2>&1)
  node head --head --port="$PORT" --dashboard-port=8266 --num-cpus="$1"
  until ray status --address "$ADDRESS" >/dev/null 2>&1; do running head && sleep 1; done
  node worker --address="$ADDRESS" --num-cpus="$1"
  until ray status --address "$ADDRESS" 2>/dev/null | grep -q "/$((2 * $1)).0 CPU"; do running worker && sleep 1; done
  echo "Two nodes are running. Use them with:"
  echo "  RAY_AUTH_MODE=token phantom-dist run sweeps/zoo.yaml --out runs/zoo --address $ADDRESS"
}

running() { # NAME
  kill -0 "$(cat "$STATE/$1.pid")" 2>/dev/null && return
  echo "The $1 node ended; its log is $STATE/$1.log" >&2
  stop
  exit 1
}

stop() {
  local name pid
  for name in worker head; do
    [ -e "$STATE/$name.pid" ] || continue
    pid=$(cat "$STATE/$name.pid")
    kill -TERM "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
    rm "$STATE/$name.pid"
  done
}

case ${1:-} in
  start) start "${2:-1}" ;;
  status) ray status --address "$ADDRESS" ;;
  stop) stop ;;
  *)
    echo "usage: $0 start [CPUS] | status | stop" >&2
    exit 2
    ;;
esac
