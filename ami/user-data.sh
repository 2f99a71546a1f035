#!/bin/bash
# User data of the launch template: sets what varies from launch to launch, and starts the agent. Runs once, as root, on
# the first boot. Everything else is baked into the image (prepare-image.sh). No secret belongs here: every process
# on the instance can read it.
set -euo pipefail

# REPLACE: the primary's private address. It stays the primary's for as long as its network interface exists.
coordinator=https://10.0.0.5:7443
# The CA that the coordinator's certificate must be of, which is no secret: the primary's ca.pem takes the place of
# REPLACE_CA (ami/README.md). While one CA takes another's place it is both. Without one here, it is the image's.
ca='
REPLACE_CA
'

say() { echo "spillway user data: $*"; } # cloud-init shows it on the console: aws ec2 get-console-output
trap 'say "FAILED at line $LINENO: $BASH_COMMAND. The agent was not started; the coordinator ends this instance at its boot deadline."' ERR

for file in /etc/spillway/agent.toml "$(command -v spillway-agent || echo spillway-agent)"; do
  if [ ! -s "$file" ]; then
    say "$file is missing or empty: the image was not prepared (ami/prepare-image.sh)"
    exit 1
  fi
done
case $ca in
  *"BEGIN CERTIFICATE"*) printf '%s' "$ca" >/etc/spillway/ca.pem ;;
  *)
    if ! grep -qs "BEGIN CERTIFICATE" /etc/spillway/ca.pem; then
      say "the coordinator's CA is missing: put its ca.pem into the user data, or into the image as /etc/spillway/ca.pem (ami/README.md)"
      exit 1
    fi
    ;;
esac
chmod 0644 /etc/spillway/ca.pem
printf 'SPILLWAY_COORDINATOR=%s\n' "$coordinator" >/etc/spillway/agent.env
systemctl daemon-reload
# Enabled for a reboot, on which user data does not run again.
systemctl enable --quiet spillway-agent.service
# --no-block: this script is a part of the boot that the unit waits for.
systemctl start --no-block spillway-agent.service
say "started the agent, which reports to $coordinator"
