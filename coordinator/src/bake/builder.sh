#!/bin/bash
# User data of a bake's builder, a copy of the primary that reaches nobody: takes out what a worker must not have, and
# powers off. Its last line on the console is the verdict that spillway bake reads.
set -uo pipefail
bake=@BAKE@

say() {
  echo "spillway bake: $*"
  if [ -w /dev/console ] && [ -z "${AWS_EC2_METADATA_SERVICE_ENDPOINT:-}" ]; then echo "spillway bake: $*" >/dev/console; fi
}
end() {
  say "verdict $bake builder $*"
  sync
  systemctl --no-block poweroff || poweroff
  sleep infinity # so that cloud-init notes nothing more
}

case ${AWS_EC2_METADATA_SERVICE_ENDPOINT:-} in
  http://127.*)
    say "this emulated instance is a process of its host: nothing is touched, and the image is none"
    end ok
    ;;
esac
# Should this script hang, the instance stops all the same.
systemd-run --quiet --on-active=40min systemctl poweroff || true

prepare=$(mktemp /run/spillway-prepare.XXXXXX)
cat >"$prepare" <<'PREPARE'
@PREPARE@
PREPARE
say "preparing the image"
if bash "$prepare" --this-is-the-builder --stop-services @ALLOWED@ 2>&1 | tee /run/spillway-said | while IFS= read -r line; do say "$line"; done; then
  end ok
else
  end "failed $(grep -a '^prepare-image: ' /run/spillway-said | tail -n 1 || tail -n 1 /run/spillway-said)"
fi
