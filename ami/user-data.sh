#!/bin/bash
# User data of the launch template: sets what varies from launch to launch, and starts the agent. Runs once, as root, on
# the first boot. Everything else is baked into the image (prepare-image.sh). No secret belongs here: every process
# on the instance can read it.
set -euo pipefail

# REPLACE: the primary's private address. It stays the primary's for as long as its network interface exists.
coordinator=http://10.0.0.5:7443

say() { echo "spillway user data: $*"; } # cloud-init shows it on the console: aws ec2 get-console-output
trap 'say "FAILED at line $LINENO: $BASH_COMMAND. The agent was not started; the coordinator ends this instance at its boot deadline."' ERR

for file in /etc/spillway/agent.toml /etc/spillway/join-token /usr/local/bin/spillway-agent; do
  if [ ! -s "$file" ]; then
    say "$file is missing or empty: the image was not prepared (ami/prepare-image.sh)"
    exit 1
  fi
done
printf 'SPILLWAY_COORDINATOR=%s\n' "$coordinator" >/etc/spillway/agent.env
systemctl daemon-reload
# Enabled for a reboot, on which user data does not run again.
systemctl enable --quiet spillway-agent.service
# --no-block: this script is a part of the boot that the unit waits for.
systemctl start --no-block spillway-agent.service
say "started the agent, which reports to $coordinator"
