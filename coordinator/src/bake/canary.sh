#!/bin/bash
# User data of a bake's canary, an instance of the new image among the workers: boots a worker against a Redis of its own,
# and powers off. Its last line on the console is the verdict that spillway bake reads.
set -uo pipefail
bake=@BAKE@
coordinator=@COORDINATOR@
ca='@CA@'

say() {
  echo "spillway bake: $*"
  if [ -w /dev/console ] && [ -z "${AWS_EC2_METADATA_SERVICE_ENDPOINT:-}" ]; then echo "spillway bake: $*" >/dev/console; fi
}
end() {
  say "verdict $bake canary $*"
  sync
  systemctl --no-block poweroff || poweroff
  sleep infinity
}

case ${AWS_EC2_METADATA_SERVICE_ENDPOINT:-} in
  http://127.*)
    say "this emulated instance is a process of its host: nothing is tried"
    end ok
    ;;
esac
# Should this script hang, the instance stops all the same.
systemd-run --quiet --on-active=25min systemctl poweroff || true

case $ca in *"BEGIN CERTIFICATE"*) printf '%s\n' "$ca" >/etc/spillway/ca.pem ;; esac
if [ -n "$coordinator" ]; then export SPILLWAY_COORDINATOR=$coordinator; fi
say "booting a worker as an instance does, without the real queue"
spillway-agent check --boot 2>&1 | tee /run/spillway-said | while IFS= read -r line; do say "$line"; done
# The coordinator may not run yet, and this instance has no role.
failed=$(grep -a '^FAILED ' /run/spillway-said | grep -v -a -E '^FAILED +(coordinator|proof):')
if [ -z "$failed" ] && grep -a -q '^ok  *boot worker:' /run/spillway-said; then
  end ok
else
  end "failed $(tr '\n' ';' <<<"${failed:-$(tail -n 3 /run/spillway-said)}")"
fi
