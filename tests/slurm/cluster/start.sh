#!/bin/bash
# What runs on a machine of the cluster: the controller on `head`, slurmd on the others.
set -e
mkdir -p /var/spool/slurmctld /var/spool/slurmd /run/munge
chown munge: /run/munge
runuser -u munge -- /usr/sbin/munged
if [ "$(hostname -s)" = head ]; then exec slurmctld -D; fi
exec slurmd -D
