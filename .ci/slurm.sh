#!/usr/bin/env bash
# Install and start a Slurm of two nodes, n1 and n2, on this machine, for tests/slurm.
# Never fails a build: where it cannot be had (no root, no package index, no Slurm), it says why and the tests skip.
#
#   .ci/slurm.sh          install if need be, start what is not running
#   .ci/slurm.sh stop     end its daemons and forget its state
#
# State and configuration live in $CONVBENCH_SLURM (default: ~/.cache/convbench-ci/slurm); the tests look there too.
set -uo pipefail

state=${CONVBENCH_SLURM:-${XDG_CACHE_HOME:-$HOME/.cache}/convbench-ci/slurm}
export SLURM_CONF=$state/slurm.conf

skip() { echo "slurm: $*; the tests that need it will skip" >&2; exit 0; }
alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

stop() {
    for pid_file in "$state"/*.pid; do
        if alive "$pid_file"; then kill "$(cat "$pid_file")"; fi
        rm -f "$pid_file"
    done
    rm -rf "$state"
}

if [ "${1:-start}" = stop ]; then stop; exit 0; fi
[ "$(id -u)" = 0 ] || skip "its daemons need root"

if ! { command -v slurmctld && command -v slurmd && command -v sbatch && command -v munged; } >/dev/null; then
    command -v apt-get >/dev/null || skip "no apt-get to install it with"
    export DEBIAN_FRONTEND=noninteractive
    packages="slurmctld slurmd slurm-client munge"
    # shellcheck disable=SC2086
    timeout 300 sh -c "apt-get install -qq -y --no-install-recommends $packages ||
        { apt-get update -qq && apt-get install -qq -y --no-install-recommends $packages; }" \
        >/tmp/convbench-slurm-install.log 2>&1 || skip "apt-get could not install it (/tmp/convbench-slurm-install.log)"
fi

if ! munge -n >/dev/null 2>&1; then
    [ -s /etc/munge/munge.key ] || mungekey --create 2>/dev/null ||
        { head -c 1024 /dev/urandom >/etc/munge/munge.key && chown munge: /etc/munge/munge.key &&
          chmod 400 /etc/munge/munge.key; }
    install -d -o munge -g munge /run/munge
    runuser -u munge -- munged || skip "munged does not start"
fi

if SLURM_CONF=$SLURM_CONF timeout 10 sinfo -h >/dev/null 2>&1 && alive "$state/dn1.pid" && alive "$state/dn2.pid"; then
    exit 0
fi
stop
mkdir -p "$state/ctl"
host=$(hostname -s)
# Timeouts are as short as Slurm allows, so that losing a node takes seconds; a requeued job waits for its credential
# to expire, hence cred_expire.
cat >"$SLURM_CONF" <<CONF
ClusterName=convbench
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${CONVBENCH_SLURM_PORT:-17000}
AuthType=auth/munge
AuthInfo=cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$state/ctl
SlurmdSpoolDir=$state/d%n
SlurmctldPidFile=$state/ctl.pid
SlurmdPidFile=$state/d%n.pid
SlurmctldLogFile=$state/ctl.log
SlurmdLogFile=$state/d%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2
ReturnToService=2
SlurmdTimeout=6
InactiveLimit=30
KillWait=5
MinJobAge=10
MpiDefault=none
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17001 CPUs=1 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=17002 CPUs=1 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
CONF

slurmctld || skip "slurmctld does not start ($state/ctl.log)"
slurmd -N n1 || skip "slurmd does not start ($state/dn1.log)"
slurmd -N n2 || skip "slurmd does not start ($state/dn2.log)"
for _ in $(seq 40); do
    [ "$(timeout 5 sinfo -h -t idle -o %D 2>/dev/null)" = 2 ] && { echo "slurm: two nodes idle" >&2; exit 0; }
    sleep 0.5
done
skip "its nodes did not come up within 20 s ($state/ctl.log)"
