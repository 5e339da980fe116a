#!/usr/bin/env bash
# A real SLURM cluster on this one machine, to try hydra/launcher=slurm or to run the tests marked slurm:
#
#   sudo bash scripts/slurm_local.sh up               # installs what is missing, starts what is not running
#   bash scripts/slurm_local.sh status                # exit code 0: all of it runs and answers; 3: not
#   sudo bash scripts/slurm_local.sh down [--purge]   # cancels its jobs and stops; --purge removes its files too
#
# Debian, as root (other systems are refused with exit code 2). Two virtual nodes n1 and n2 of 4 CPUs and 2 GPUs
# each; the GPUs are fake, jobs run on this machine's CPU. Partitions: main, scavenge (requeued when preempted),
# killable (cancelled when preempted), high (preempts both). Everything lies below ISOSWEEP_SLURM_LAB (default:
# isosweep-slurm in TMPDIR or /tmp), but for /etc/slurm/{slurm,gres,slurmdbd}.conf. How to use it: docs/slurm.md
set -euEo pipefail

MARK="# written by isosweep's scripts/slurm_local.sh"
CLUSTER=isosweep NODES=2 CPUS=4 MEM_MB=8000 GPUS=2
CTLD_PORT=16817 SLURMD_PORT=16818 DBD_PORT=16819 DB_PORT=16806
PACKAGES=(slurmctld slurmd slurm-client slurmdbd munge mariadb-server)
CONF=/etc/slurm/slurm.conf
export PATH=$PATH:/usr/sbin:/sbin
# a surrounding job, another cluster's client settings or a site's output formats must not reach the commands below
for v in $(compgen -e | grep -E '^(SLURM|SBATCH|SRUN|SQUEUE|SINFO|SACCT)' || true); do unset "$v"; done
export LC_ALL=C

say() { echo "slurm_local: $*"; }
die() { echo "slurm_local: $*" >&2; exit 1; }
refuse() { echo "slurm_local: $*" >&2; exit 2; }
# any command that fails unforeseen is a failure (1), never mistaken for a refusal (2)
trap 'echo "slurm_local: line $LINENO failed: $BASH_COMMAND" >&2; exit 1' ERR

until_ok() { # quarter seconds, command
  local n=$1 i; shift
  for ((i = 0; i < n; i++)); do "$@" >/dev/null 2>&1 && return 0; sleep 0.25; done
  return 1
}
ours() { [ -e "$1" ] && head -1 "$1" | grep -qF "$MARK"; }
# A pid file may be left over from before a crash or a reboot, and its number may meanwhile belong to something
# else, even to the other node's daemon: the command line decides.
alive() { # pid file, name, text in its command line
  local pid; pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] &&
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$3"
}
munge_runs() { alive "$LAB/munge/pid" munged "$LAB/munge/sock"; }
database_runs() { alive "$LAB/run/mariadbd.pid" mariadbd "$LAB/db"; }
slurmdbd_runs() { alive "$LAB/run/slurmdbd.pid" slurmdbd slurmdbd; }
slurmctld_runs() { alive "$LAB/run/slurmctld.pid" slurmctld slurmctld; }
slurmd_runs() { alive "$LAB/run/slurmd.n$1.pid" slurmd "-N n$1"; }
munge_answers() { munge -n -S "$LAB/munge/sock" | unmunge -S "$LAB/munge/sock"; }
controller_answers() { timeout 5 scontrol ping | grep -q ' UP'; }
accounting_answers() { timeout 5 sacctmgr -n list cluster; }
free_port() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
nodes_in() { timeout 5 sinfo -h -N -p main -t "$1" -o %N | sort -u | grep -c . || true; }
all_up() { [ "$(nodes_in idle,mix,alloc,comp)" = "$NODES" ]; }
all_idle() { [ "$(nodes_in idle)" = "$NODES" ]; }

lab_of_conf() { ours "$CONF" && sed -n 's|^StateSaveLocation=\(.*\)/state$|\1|p' "$CONF"; }
find_lab() {
  # without ISOSWEEP_SLURM_LAB the cluster that exists is meant, whatever TMPDIR is in this shell
  LAB=${ISOSWEEP_SLURM_LAB:-$(lab_of_conf || true)}
  LAB=${LAB:-${TMPDIR:-/tmp}/isosweep-slurm}
  LAB=${LAB%/}
  case $LAB in /*) ;; *) LAB=$PWD/$LAB ;; esac
}

need_root() {
  [ "$(id -u)" = 0 ] || refuse "'$1' starts and stops system daemons: run it as root (found user '$(id -un)')." \
    "Without root the tests marked slurm skip; an existing cluster needs none of this."
}
need_debian() {
  local name=this
  command -v apt-get >/dev/null && command -v dpkg-query >/dev/null && return
  [ ! -r /etc/os-release ] || name=$(. /etc/os-release && echo "${PRETTY_NAME:-this}")
  refuse "SLURM is installed with apt-get here, sought on PATH, not found: $name is not a Debian system." \
    "Use a Debian machine or container (docker run -it debian:12), or an existing cluster."
}

install_packages() {
  local p missing=()
  for p in "${PACKAGES[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)" = installed ] || missing+=("$p")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]} (log: $LAB/log/apt.log)"
  # RUNLEVEL=1 keeps the packages' own services from starting where there is no systemd
  apt() { RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; }
  { apt || { apt-get update && apt; }; } >"$LAB/log/apt.log" 2>&1 9>&- || {
    tail -15 "$LAB/log/apt.log" >&2
    die "apt-get could not install ${missing[*]} (above: its last words). Is a Debian mirror reachable?"
  }
  # where there is systemd it has started them; enabled, they would take up our files at the next boot
  if [ -d /run/systemd/system ]; then
    local s
    for s in slurmctld slurmd slurmdbd munge mariadb; do
      for p in "${missing[@]}"; do
        [ "${p%-server}" != "$s" ] || systemctl disable --now "$s" >>"$LAB/log/apt.log" 2>&1 ||
          say "could not disable the service $s of the package just installed; see $LAB/log/apt.log"
      done
    done
  fi
}

write_files() {
  local f new i changed=0
  mkdir -p "$LAB/new" /etc/slurm
  for ((i = 0; i < GPUS; i++)); do # twins of /dev/null: SLURM wants a device to hand out
    [ -c "$LAB/dev/nvidia$i" ] || mknod -m 666 "$LAB/dev/nvidia$i" c 1 3 ||
      die "could not make the device file $LAB/dev/nvidia$i: containers need the capability MKNOD (docker's default has it)"
  done
  cat >"$LAB/new/slurm.conf" <<CONF
$MARK
ClusterName=$CLUSTER
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$CTLD_PORT
SlurmdPort=$SLURMD_PORT
SlurmUser=root
AuthType=auth/munge
# a requeued job waits cred_expire seconds before it may start again (default 120)
AuthInfo=socket=$LAB/munge/sock,cred_expire=10
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$LAB/state
SlurmctldPidFile=$LAB/run/slurmctld.pid
SlurmdPidFile=$LAB/run/slurmd.%n.pid
SlurmdSpoolDir=$LAB/spool.%n
SlurmctldLogFile=$LAB/log/slurmctld.log
SlurmdLogFile=$LAB/log/slurmd.%n.log
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
# no cgroups: they need systemd or a machine of one's own
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$DBD_PORT
AccountingStoragePass=$LAB/munge/sock
AccountingStorageTRES=gres/gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# the nodes have the CPUs and the memory said below, whatever the machine has
SlurmdParameters=config_overrides
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=5
MinJobAge=300
SlurmctldTimeout=30
SlurmdTimeout=20
NodeName=n[1-$NODES] NodeHostname=$HOST NodeAddr=127.0.0.1 Port=[17001-$((17000 + NODES))] CPUs=$CPUS RealMemory=$MEM_MB Gres=gpu:$GPUS State=UNKNOWN
PartitionName=DEFAULT Nodes=n[1-$NODES] MaxTime=60 DefaultTime=10 DefMemPerCPU=500 State=UP
PartitionName=main Default=YES PriorityTier=1 PreemptMode=OFF
PartitionName=scavenge PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
PartitionName=killable PriorityTier=1 PreemptMode=CANCEL GraceTime=5
PartitionName=high PriorityTier=10 PreemptMode=OFF
CONF
  cat >"$LAB/new/gres.conf" <<CONF
$MARK
NodeName=n[1-$NODES] Name=gpu File=$LAB/dev/nvidia[0-$((GPUS - 1))]
CONF
  cat >"$LAB/new/slurmdbd.conf" <<CONF
$MARK
AuthType=auth/munge
AuthInfo=socket=$LAB/munge/sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$DBD_PORT
CommunicationParameters=NoInAddrAny
SlurmUser=root
PidFile=$LAB/run/slurmdbd.pid
LogFile=$LAB/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$DB_PORT
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
CONF
  chmod 644 "$LAB"/new/*.conf
  chmod 600 "$LAB/new/slurmdbd.conf" # slurmdbd insists
  for f in slurm gres slurmdbd; do cmp -s "$LAB/new/$f.conf" "/etc/slurm/$f.conf" || changed=1; done
  if [ $changed = 1 ] && slurmctld_runs; then
    die "the settings in /etc/slurm differ from this script's while the cluster runs: 'down' first, then 'up'"
  fi
  for f in slurm gres slurmdbd; do
    new=/etc/slurm/.$f.conf.$$
    cp -p "$LAB/new/$f.conf" "$new" && mv "$new" "/etc/slurm/$f.conf"
  done
  rm -r "$LAB/new"
}

start_munge() {
  if ! munge_runs; then
    install -d -o munge -g munge -m 0755 "$LAB/munge"
    runuser -u munge -- test -x "$LAB/munge" ||
      die "the user munge cannot enter $LAB: choose another folder with ISOSWEEP_SLURM_LAB (each parent needs mode o+x)"
    [ -s "$LAB/munge/key" ] || runuser -u munge -- mungekey -c -k "$LAB/munge/key"
    runuser -u munge -- munged --socket="$LAB/munge/sock" --key-file="$LAB/munge/key" --pid-file="$LAB/munge/pid" \
      --log-file="$LAB/munge/log" --seed-file="$LAB/munge/seed" 9>&- || die "munged did not start: $(tail -1 "$LAB/munge/log")"
  fi
  until_ok 40 munge_answers || die "munge does not answer; see $LAB/munge/log"
}

start_database() {
  local sock=$LAB/db/s.sock
  if ! database_runs; then
    free_port $DB_PORT || die "port $DB_PORT for the database is taken by another process: stop that one"
    if [ ! -d "$LAB/db/mysql" ]; then
      rm -rf "$LAB/db" "$LAB/db.new" # what an interrupted first start left
      install -d -o mysql -g mysql -m 0700 "$LAB/db.new"
      mariadb-install-db --no-defaults --user=mysql --datadir="$LAB/db.new" --skip-test-db \
        --auth-root-authentication-method=socket >"$LAB/log/dbinit.log" 2>&1 9>&- ||
        die "mariadb-install-db failed; see $LAB/log/dbinit.log"
      mv "$LAB/db.new" "$LAB/db"
    fi
    setsid nohup mariadbd --no-defaults --user=mysql --datadir="$LAB/db" --socket="$sock" \
      --bind-address=127.0.0.1 --port=$DB_PORT --skip-log-bin --innodb-buffer-pool-size=64M \
      --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=0 \
      >"$LAB/log/mariadbd.log" 2>&1 </dev/null 9>&- &
    echo $! >"$LAB/run/mariadbd.pid"
    until_ok 120 mariadb-admin --no-defaults -S "$sock" ping || die "mariadbd did not come up; see $LAB/log/mariadbd.log"
  fi
  mariadb --no-defaults -S "$sock" -e "create database if not exists slurm_acct_db;
    create user if not exists 'slurm'@'127.0.0.1' identified by 'slurm';
    grant all on slurm_acct_db.* to 'slurm'@'127.0.0.1';"
}

start_slurm() {
  local i
  if ! slurmdbd_runs; then
    free_port $DBD_PORT || die "port $DBD_PORT for slurmdbd is taken by another process: stop that one"
    slurmdbd 9>&-
  fi
  until_ok 80 accounting_answers || die "slurmdbd does not answer; see $LAB/log/slurmdbd.log"
  if ! slurmctld_runs; then
    free_port $CTLD_PORT || die "port $CTLD_PORT for slurmctld is taken by another process: stop that one"
    slurmctld 9>&-
  fi
  until_ok 60 controller_answers || die "slurmctld does not answer; see $LAB/log/slurmctld.log"
  for ((i = 1; i <= NODES; i++)); do slurmd_runs "$i" || slurmd -N "n$i" 9>&-; done
  until_ok 120 all_up || { sinfo -R >&2; die "not all nodes came up (above: why); see $LAB/log/slurmd.n1.log"; }
  [ -n "$(squeue -h)" ] || until_ok 40 all_idle || true
}

up() {
  local f from=$SECONDS
  need_root up
  need_debian
  [ ${#LAB} -le 80 ] || die "$LAB is too long for Unix sockets (80 characters): set ISOSWEEP_SLURM_LAB to a shorter folder"
  [[ $LAB =~ ^[A-Za-z0-9_./-]+$ ]] || die "SLURM's files cannot spell the folder '$LAB': set ISOSWEEP_SLURM_LAB to plain letters"
  for f in slurm gres slurmdbd; do
    f=/etc/slurm/$f.conf
    [ ! -e "$f" ] || ours "$f" ||
      die "$f belongs to another SLURM installation (its first line is not '$MARK'); nothing was changed." \
        "Use that cluster, or move the file away."
  done
  local other; other=$(lab_of_conf || true)
  if [ -n "$other" ] && [ "$other" != "$LAB" ] && (LAB=$other && { slurmctld_runs || slurmdbd_runs; }); then
    die "a cluster runs in $other, not in $LAB: use that one, or stop it first:" \
      "ISOSWEEP_SLURM_LAB=$other bash scripts/slurm_local.sh down"
  fi
  mkdir -p "$LAB"/{state,log,run,dev}
  chmod 755 "$LAB"
  exec 9>"$LAB/lock"
  flock -w 120 9 || die "another 'up' or 'down' has been at work for two minutes ($LAB/lock is held)"
  install_packages
  HOST=$(hostname -s)
  write_files
  start_munge
  start_database
  start_slurm
  say "up after $((SECONDS - from)) s in $LAB; ISOSWEEP_SLURM_LAB need not be set for status and down"
  sinfo || true
}

stop() { # runs?, pid file, name
  local pid i
  $1 || { rm -f "$2"; return 0; }
  pid=$(cat "$2")
  kill "$pid" 2>/dev/null || true
  for ((i = 0; i < 60; i++)); do
    $1 || { rm -f "$2"; say "stopped $3 ($pid)"; return 0; }
    sleep 0.25
  done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$2"
  say "killed $3 ($pid), which did not stop within 15 s"
}

# Jobs that no controller could cancel, as after a crash: their slurmstepd works in our log folder.
stop_strays() {
  local p child
  for p in /proc/[0-9]*; do
    [ "$(cat "$p/comm" 2>/dev/null)" = slurmstepd ] && [ "$(readlink "$p/cwd")" = "$LAB/log" ] || continue
    for child in $(cat "$p"/task/*/children 2>/dev/null || true); do kill -9 -- "-$child" 2>/dev/null || true; done
    kill -9 "${p#/proc/}" 2>/dev/null || true
    say "killed a job left behind (slurmstepd ${p#/proc/})"
  done
}

down() {
  local f i
  need_root down
  if [ ! -d "$LAB" ]; then
    say "nothing to stop: no folder $LAB"
  else
    exec 9>"$LAB/lock"
    flock -w 120 9 || die "another 'up' or 'down' has been at work for two minutes ($LAB/lock is held)"
    if slurmctld_runs && until_ok 1 controller_answers; then # no job's slurmstepd may outlive its slurmd
      squeue -h -o %A | sort -u | xargs -r scancel 2>/dev/null || true
      for ((i = 0; i < 60; i++)); do [ -n "$(squeue -h 2>/dev/null || true)" ] || break; sleep 0.25; done
    fi
    for ((i = 1; i <= NODES; i++)); do stop "slurmd_runs $i" "$LAB/run/slurmd.n$i.pid" "slurmd n$i"; done
    stop_strays
    stop slurmctld_runs "$LAB/run/slurmctld.pid" slurmctld
    stop slurmdbd_runs "$LAB/run/slurmdbd.pid" slurmdbd
    stop database_runs "$LAB/run/mariadbd.pid" mariadbd
    stop munge_runs "$LAB/munge/pid" munged
  fi
  [ "${1:-}" = --purge ] || return 0
  # only what this script makes: the folder's name comes from the user
  rm -rf "$LAB"/{state,log,run,dev,munge,db,db.new,new} "$LAB"/spool.*
  rm -f "$LAB/lock"
  [ ! -d "$LAB" ] || rmdir "$LAB" 2>/dev/null || say "kept $LAB: other files lie in it"
  if [ -z "$(lab_of_conf || true)" ] || [ "$(lab_of_conf)" = "$LAB" ]; then
    for f in slurm gres slurmdbd; do ! ours "/etc/slurm/$f.conf" || rm -f "/etc/slurm/$f.conf"; done
    rmdir /etc/slurm 2>/dev/null || true
  fi
  say "purged; the Debian packages stay: apt-get remove ${PACKAGES[*]}"
}

status() {
  local i bad=0
  if [ -e "$CONF" ] && ! ours "$CONF"; then
    say "$CONF belongs to another SLURM installation, which this script leaves alone"; exit 3
  fi
  [ -d "$LAB" ] || { say "down: no folder $LAB; bring it up with: sudo bash scripts/slurm_local.sh up"; exit 3; }
  report() { if "${@:2}" >/dev/null 2>&1; then say "$1: yes"; else say "$1: NO"; bad=3; fi; }
  say "lab folder: $LAB"
  report "munge runs" munge_runs
  report "mariadbd runs" database_runs
  report "slurmdbd runs" slurmdbd_runs
  report "slurmctld runs" slurmctld_runs
  for ((i = 1; i <= NODES; i++)); do report "slurmd of n$i runs" slurmd_runs "$i"; done
  if [ $bad = 0 ]; then
    report "the controller answers" controller_answers
    report "accounting answers" accounting_answers
    report "all nodes can take jobs" all_up
    timeout 5 sinfo || bad=3
  fi
  [ $bad = 0 ] || say "bring up what is missing with: sudo bash scripts/slurm_local.sh up (logs: $LAB/log)"
  exit $bad
}

usage() { sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
find_lab
case "${1:-} ${2:-}" in
  "up ") up ;;
  "down " | "down --purge") down "${2:-}" ;;
  "status ") status ;;
  *) usage ;;
esac
