#!/bin/sh
# Starts MUNGE, by which Slurm's daemons and commands know each other, and then the command that is
# given. Every container of docker compose --profile slurm begins with it:
#
#   start.sh slurmctld -D

set -eu

key=/slurm/munge.key # on the volume that they share
own=/tmp/munge       # munged wants a directory that others cannot write to

# The first container makes the key. A link either is there or is not, and never replaces another.
if [ ! -e "$key" ]; then
  draft="$key.$(hostname)"
  mungekey --create --force --keyfile="$draft"
  ln "$draft" "$key" 2>/dev/null || [ -e "$key" ]
  rm -f "$draft"
fi

mkdir -p "$own"
chmod 755 "$own"
munged --key-file="$key" --socket="$own/socket" --pid-file="$own/pid" \
  --log-file="$own/log" --seed-file="$own/seed" # returns once it answers

# A container that comes back may have another address than the one that the controller has kept.
if [ "$1" = slurmd ]; then
  scontrol update NodeName="$(hostname)" NodeAddr="$(hostname -i)" ||
    echo "start.sh: no controller yet; it will look this node's address up" >&2
fi

exec "$@"
