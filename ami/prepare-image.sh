#!/bin/bash
# Run as root on the builder, a machine made from a copy of the primary: takes out what a worker must not have, checks
# what it needs, and leaves the machine ready for `aws ec2 create-image`. ami/README.md says when. Never on the primary:
# it deletes the coordinator, Redis's data and PM2's saved list.
set -euo pipefail

fail() { printf 'prepare-image: %s\n' "$*" >&2 && exit 1; }
say() { printf '%s\n' "- $*"; }

[ "${1:-}" = --this-is-the-builder ] || fail "deletes the coordinator and Redis's data from this machine. If it is the builder, say --this-is-the-builder"
shift # what is left is for the agent's check: --allow NAME
[ "$(id -u)" = 0 ] || fail "needs root"

# What runs on the primary and must never start on a worker. Add what else is yours.
shopt -s nullglob
services=(spillway redis-server)
for unit in /etc/systemd/system/pm2-*.service; do services+=("$(basename "$unit" .service)"); done
for service in "${services[@]}"; do
  if systemctl is-active --quiet "$service"; then
    fail "$service is running. On the primary: stop here. On the builder: it was not disabled for the copy, and may have worked jobs twice; make the copy again"
  fi
done

config=/etc/spillway/agent.toml token=/etc/spillway/join-token
agent=$(command -v spillway-agent) || fail "spillway-agent is missing: install its package"
[ -s $config ] || fail "$config is missing: edit ami/agent.toml and copy it"
if [ ! -s /etc/systemd/system/spillway-agent.service ] && [ ! -s /usr/lib/systemd/system/spillway-agent.service ]; then
  fail "the unit is missing: install the agent's package, or copy ami/spillway-agent.service to /etc/systemd/system"
fi
# The first value of a key in the agent's configuration.
value() { sed -n "s/^ *$1 *= *\"\([^\"]*\)\".*/\1/p" $config | head -n 1; }
# Where agents prove themselves by their instance profile there is none.
if [ -n "$(value join_token_file)" ]; then
  [ -s $token ] || fail "$token is missing: write the coordinator's SPILLWAY_GRPC_JOIN_TOKEN into it"
fi
user=$(value user) directory=$(value directory) env_file=$(value env_file)
[ -z "$user" ] || id "$user" >/dev/null 2>&1 || fail "$config names the user $user, who is not there"
users_home=$(getent passwd "${user:-root}" | cut -d: -f6)
[ -d "$directory" ] || fail "$config names the directory $directory, which is not there"
[ -s "$env_file" ] || fail "$config names the environment file $env_file, which is not there"
if grep -qE '^(export +)?REDIS_URL=.*(127\.|localhost|\[::1\]|unix:)' "$env_file"; then
  fail "REDIS_URL in $env_file is this machine's own Redis: write the primary's private address"
fi
for program in git bun pm2; do
  runuser -u "${user:-root}" -- bash -lc "command -v $program" >/dev/null || fail "$program is not in ${user:-root}'s PATH"
done
# Found here rather than removed: the application may need another way to them first.
"$agent" check-image --config $config "$@" >&2 || fail "what is named above must not be in an image. Nothing was changed"

say "no service of the primary starts here: ${services[*]}"
systemctl disable --quiet "${services[@]}" 2>/dev/null || true # those that are not there
# It says nothing of a package that is not there.
if command -v dpkg >/dev/null; then dpkg --purge spillway >/dev/null 2>&1 || fail "the coordinator's package cannot be purged: try dpkg --purge spillway"; fi
rm -rf /etc/systemd/system/spillway.service{,.d} /etc/systemd/system/pm2-*.service{,.d}
rm -f /usr/local/bin/spillway /etc/spillway/coordinator.*
# Its state: which installation this is, and the key of the CA by which agents know the coordinator.
rm -rf /var/lib/spillway /var/lib/private/spillway
systemctl daemon-reload

say "PM2's saved list and logs are gone: the agent starts the worker, and only it"
for home in /root /home/* "$users_home"; do
  rm -rf "$home"/.pm2/{dump.pm2,dump.pm2.bak,logs,pids,pm2.log,pm2.pid,rpc.sock,pub.sock}
  rm -rf "$home"/.aws "$home"/.bash_history "$home"/.lesshst "$home"/.viminfo "$home"/.ssh/authorized_keys
done

say "Redis's copy of the queues is gone"
rm -rf /var/lib/redis/*

say "the agent's files are root's; a token is nobody else's. User data starts the agent"
chown root:root "$agent" $config
chmod 0755 "$agent"
chmod 0644 $config
if [ -e $token ]; then chown root:root $token && chmod 0600 $token; fi
rm -f /etc/spillway/agent.env
systemctl disable --quiet spillway-agent.service 2>/dev/null || true

say "identity and traces are gone: machine-id, host keys, logs, cloud-init's memory"
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /var/lib/systemd/random-seed
journalctl --quiet --rotate --vacuum-time=1s || true # no journal on disk
find /var/log -type f -exec truncate -s 0 {} +
rm -rf /tmp/* /var/tmp/*
apt-get clean
cloud-init clean --logs
truncate -s 0 /etc/machine-id
rm -f /var/lib/dbus/machine-id
sync

cat <<TEXT
Ready. What stays in the image, and can be read by whoever may launch it: $env_file, $token where
there is one, and the key by which $directory is pulled (let it read that one repository and nothing else).
Now, without a reboot and without logging in again: aws ec2 create-image (ami/README.md, step 5).
TEXT
