#!/bin/bash
# Run as root on the builder, a machine made from a copy of the primary: takes out what a worker must not have, checks
# what it needs, and leaves the machine ready for an image. `spillway bake` runs it as user data; ami/README.md says how
# it is run by hand. Never on the primary: it deletes the coordinator, Redis's data and PM2's saved list.
#
#   prepare-image.sh --this-is-the-builder [--stop-services] [--stop SERVICE]... [--erase PATH]... [--allow NAME]...
#
# --stop-services is for a builder that nobody can reach and that reaches nobody: the primary's services run there until
# this stops them. --stop names another service that no worker may start, --erase what no worker may have. --allow NAME is
# for the agent's check of credentials.
set -euo pipefail

fail() { printf 'prepare-image: %s\n' "$*" >&2 && exit 1; }
say() { printf '%s\n' "- $*"; }

[ "${1:-}" = --this-is-the-builder ] || fail "deletes the coordinator and Redis's data from this machine. If it is the builder, say --this-is-the-builder"
shift
stops=no services=(spillway redis-server redis redis6 valkey valkey-server) places=() others=()
while [ $# -gt 0 ]; do
  case $1 in
    --stop-services) stops=yes ;;
    --stop) services+=("${2:?--stop needs a service}") && shift ;;
    --erase) places+=("${2:?--erase needs a path}") && shift ;;
    *) others+=("$1") ;;
  esac
  shift
done
for place in "${places[@]}"; do
  case $place in /*/*) ;; *) fail "--erase $place: name a path below a directory, such as /data/redis" ;; esac
done
set -- "${others[@]}" # for the agent's check
[ "$(id -u)" = 0 ] || fail "needs root"

# What runs on the primary and must never start on a worker. Add what else is yours.
shopt -s nullglob
for unit in /etc/systemd/system/pm2-*.service; do services+=("$(basename "$unit" .service)"); done
for service in "${services[@]}"; do
  systemctl is-active --quiet "$service" || continue
  [ $stops = yes ] || fail "$service is running. On the primary: stop here. On the builder: it was not disabled for the copy, and may have worked jobs twice; make the copy again"
  systemctl stop "$service"
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
if grep -qE '^(export +)?REDIS_URL=.*((://|@)(127\.|localhost|\[::1\])|unix:)' "$env_file"; then
  fail "REDIS_URL in $env_file is this machine's own Redis: write the primary's private address"
fi
has() { runuser -u "${user:-root}" -- bash -lc "PATH=\$HOME/.bun/bin:\$PATH command -v $1" >/dev/null; }
for program in git bun; do has $program || fail "$program is not in ${user:-root}'s PATH"; done
has pm2 || has npx || fail "neither pm2 nor npx is in ${user:-root}'s PATH"

if [ $stops = no ]; then
  # Found here rather than removed: the application may need another way to them first.
  "$agent" check-image --config $config "$@" >&2 || fail "what is named above must not be in an image. Nothing was changed"
fi

# Overwritten before they are deleted: a snapshot has what blocks hold, not what files name.
erase() {
  local place
  for place in "$@"; do
    if [ -e "$place" ]; then find "$place" -xdev -type f -exec shred --force --iterations=0 --zero {} +; fi
    rm -rf "$place"
  done
}

# In memory: secrets of the primary's that must be nowhere on the disk in the end.
marks=$(mktemp /run/spillway-marks.XXXXXX) removed=$(mktemp -u /run/spillway-removed.XXXXXX)
trap 'rm -f "$marks" "$marks.left" "$removed"' EXIT
stays() { case $1 in "$config" | "$token" | /etc/spillway/ca.pem | /etc/spillway/redis-url | /etc/spillway/agent.env) ;; *) false ;; esac; }
secrets() {
  local file home
  find /var/lib/spillway /var/lib/private/spillway -type f -size -64k -exec cat {} + 2>/dev/null | grep -a -v CERTIFICATE || true
  for file in /etc/spillway/*; do
    case $file in /etc/spillway/coordinator.*) continue ;; esac
    stays "$file" || cat "$file"
  done
  # Of the coordinator's settings: what a name calls a secret, and passwords in URLs.
  sed -n -E -e 's/^[^=#]*(token|secret|password|key)[^=]*= *["'\'']?([^/"'\''][^"'\'']*).*/\2/Ip' -e 's#.*://[^:/]*:([^@]*)@.*#\1#p' \
    /etc/spillway/coordinator.{env,toml} 2>/dev/null || true
  for home in /root /home/* "$users_home"; do sed -n 's/^[^=]*= *//p' "$home"/.aws/* 2>/dev/null || true; done
}
secrets | tr -d '\0' | grep -a -E '^[^ #].{15}' | grep -a -v '^-----' | sort -u >"$marks" || true

if [ $stops = yes ]; then
  say "credentials are taken out of the application's environment files: a worker has its role's"
  for home in /root /home/* "$users_home"; do erase "$home/.aws"; done
  "$agent" check-image --config $config --remove --removed "$removed" "$@" >&2 || fail "what is named above must not be in an image: take it out on the primary, or --allow it"
  grep -a -E "^.{16}" "$removed" >>"$marks" 2>/dev/null || true
fi
# The CA by which agents know the coordinator, where it runs already. Its key is erased below. User data may bring another.
for ca in /var/lib/private/spillway/tls/ca.pem /var/lib/spillway/tls/ca.pem; do
  if [ -s "$ca" ]; then install -m 0644 "$ca" /etc/spillway/ca.pem && break; fi
done

# What stays in the image by intention is no mark.
while IFS= read -r mark; do
  for kept in "$env_file" $token $config /etc/spillway/ca.pem /etc/spillway/redis-url; do
    if [ -f "$kept" ] && grep -a -q -F -- "$mark" "$kept"; then continue 2; fi
  done
  printf '%s\n' "$mark"
done <"$marks" >"$marks.left"
mv "$marks.left" "$marks"

say "no service of the primary starts here: ${services[*]}"
systemctl disable --quiet "${services[@]}" 2>/dev/null || true # those that are not there
for table in /var/spool/cron/crontabs/* /var/spool/cron/*; do
  if [ -f "$table" ]; then sed -i -E '/^@reboot.*(pm2|bun|node|spillway)/s/^/# not on a worker: /' "$table"; fi
done
erase /var/lib/spillway /var/lib/private/spillway /etc/spillway/coordinator.* /etc/spillway/operator*
for file in /etc/spillway/*; do stays "$file" || erase "$file"; done
# It says nothing of a package that is not there.
if command -v dpkg >/dev/null; then dpkg --purge spillway >/dev/null 2>&1 || fail "the coordinator's package cannot be purged: try dpkg --purge spillway"; fi
rm -rf /etc/systemd/system/spillway.service{,.d} /etc/systemd/system/pm2-*.service{,.d} /usr/local/bin/spillway
systemctl daemon-reload

say "PM2's saved list and logs are gone: the agent starts the worker, and only it"
for home in /root /home/* "$users_home"; do
  erase "$home"/.pm2/{dump.pm2,dump.pm2.bak,logs,pm2.log} "$home"/{.aws,.bash_history,.lesshst,.viminfo,.ssh/authorized_keys}
  rm -rf "$home"/.pm2/{pids,pm2.pid,rpc.sock,pub.sock}
done

say "Redis's copy of the queues is gone"
data=$(sed -n 's/^ *dir \+"\?\([^"]*\)"\? *$/\1/p' /etc/redis/redis.conf /etc/redis.conf 2>/dev/null | tail -n 1) || true
# A directory that is not named whole would be this script's own.
case $data in /*/*) ;; *) data=/var/lib/redis ;; esac
erase "${data%/}"/* /var/lib/redis/* /var/lib/redis6/* /var/lib/valkey/* "${places[@]}"

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
find /var/log -type f -exec shred --force --iterations=0 --zero {} + -exec truncate -s 0 {} +
rm -rf /tmp/* /var/tmp/*
apt-get clean 2>/dev/null || true
cloud-init clean --logs
truncate -s 0 /etc/machine-id
rm -f /var/lib/dbus/machine-id
sync

# Every disk, what was deleted long ago included; where there is none (an emulated machine), the files. Redis' files are
# known by their beginnings, since their contents have no mark.
mapfile -t disks < <(lsblk -dnpo NAME,TYPE 2>/dev/null | sed -n 's/ *disk$//p')
mapfile -t mounts < <(findmnt -rno TARGET,SOURCE | sed -n 's# /dev/.*##p' | sort -u)
case $(findmnt -no SOURCE /) in /dev/*) ;; *) disks=() mounts=(/) ;; esac
named() {
  find "${mounts[@]}" -xdev -type f \( -name '*.rdb' -o -name 'appendonly.aof*' -o -exec grep -a -q -F -f "$marks" {} \; \) -print 2>/dev/null | head -n 5 | tr '\n' ' '
}
# Past the cache, which would show what was there before.
count() { dd if="$1" iflag=direct bs=4M status=none | tr '\0' '\n' | { LC_ALL=C grep -a -c "${@:2}" || true; }; }
is_on_disk() {
  local disk number
  for disk in "${disks[@]}"; do
    # A disk that cannot be read counts as one that has it.
    # Without a mark grep would not read to the end, which looks like a disk that cannot be read.
    if [ -s "$marks" ]; then number=$(count "$disk" -F -f "$marks") && [ "$number" = 0 ] || return 0; fi
    number=$(count "$disk" -E '(REDIS|VALKEY)[0-9]{3,4}.{0,3}(redis|valkey)-ver') && [ "$number" = 0 ] || return 0
  done
  return 1
}
say "looking for $(wc -l <"$marks") secrets of the primary's, and for Redis' files, on ${disks[*]:-"the files of /"}"
if [ ${#disks[@]} = 0 ] || is_on_disk; then
  found=$(named)
  [ -z "$found" ] || fail "a secret of the primary's, or Redis' data, is also in $found: no image may have it. Have it deleted here, on the copy (spillway bake --erase PATH); on the primary it may be in use"
fi
if is_on_disk; then
  say "found in what was deleted before: the free space is overwritten"
  for mount in "${mounts[@]}"; do
    dd if=/dev/zero of="$mount/spillway-zero" bs=4M status=none 2>/dev/null || true
    sync && rm -f "$mount/spillway-zero" && sync
  done
  if is_on_disk; then fail "a secret of the primary's is still on ${disks[*]}, outside of its files: build the image from a plain server (ami/README.md)"; fi
fi

[ $stops = no ] || exit 0
cat <<TEXT
Ready. What stays in the image, and can be read by whoever may launch it: $env_file, $token where
there is one, and the key by which $directory is pulled (let it read that one repository and nothing else).
Now, without a reboot and without logging in again: aws ec2 create-image (ami/README.md, step 5).
TEXT
