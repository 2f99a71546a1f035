#!/usr/bin/env bash
# Boots one machine: the tree of an image, copied on write, with its own systemd. An instance's init starts this (machine.rs),
# in a network and a mount namespace of its own. Both end with their last process: nothing is left behind, however it ends.
#
#   machine.sh IMAGE DIRECTORY NAME ADDRESS/PREFIX MAC VPC
#
# IMAGE is the image's tree, DIRECTORY the instance's own, VPC the process in whose network the instances meet. It writes
# "network" to DIRECTORY/power once there is a network, and boots when its input says so.
set -euo pipefail
image=$1 directory=$2 name=$3 address=$4 mac=$5 vpc=$6

# The kernel keeps a machine's processes apart in groups of its own, in each hierarchy that is there.
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
  [ -w "$hierarchy/cgroup.procs" ] || continue
  case $(stat -f -c %T "$hierarchy") in
    cgroup2fs | cgroupfs) ;;
    *) continue ;;
  esac
  group=$hierarchy/spillway-emulator/$name
  mkdir -p "$group"
  if [ -e "$group/cpuset.cpus" ]; then
    for part in "$hierarchy/spillway-emulator" "$group"; do
      cat "$hierarchy/cpuset.cpus" >"$part/cpuset.cpus"
      cat "$hierarchy/cpuset.mems" >"$part/cpuset.mems"
    done
  fi
  echo $$ >"$group/cgroup.procs"
done

ip link set lo up
ip link add eth0 address "$mac" type veth peer name "m$$"
ip link set "m$$" netns "$vpc"
nsenter --net="/proc/$vpc/ns/net" ip link set "m$$" up master vpc
ip address add "$address" dev eth0
ip link set eth0 up
ip route add 169.254.169.254 dev eth0 # the metadata service
echo network >"$directory/power"
read -r _

mkdir -p "$directory"/{root,changes,work,hypervisor}
echo ec2e0000-0000-4000-8000-000000000000 >"$directory/hypervisor/uuid" # by which cloud-init knows an instance of EC2's
mount -t overlay overlay -o "lowerdir=$image,upperdir=$directory/changes,workdir=$directory/work" "$directory/root"
# Nobody answers DHCP in this network, and each machine has its address: a client, as cloud-init starts one, would wait for
# a minute.
masked=()
for client in dhclient dhcpcd udhcpc; do
  if [ -e "$directory/root/usr/sbin/$client" ]; then masked+=("--bind-ro=/dev/null:/usr/sbin/$client"); fi
done
# Without a systemd on this host there is nobody to make a scope for the machine.
scope=()
[ -d /run/systemd/system ] || scope=(--keep-unit)
mount -t tmpfs tmpfs /run                          # what nspawn notes of the machine is gone with it
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network     # /sys is then made of parts, and another can be added
rebooted=133 status=133
while [ $status = $rebooted ]; do
  systemd-nspawn --quiet --register=no "${scope[@]}" --settings=no --link-journal=no --resolv-conf=off --timezone=off \
    --network-namespace-path=/proc/self/ns/net --capability=CAP_NET_ADMIN "${masked[@]}" \
    --bind-ro="$directory/hypervisor:/sys/hypervisor" \
    --console=read-only --machine="$name" --directory="$directory/root" --boot &
  machine=$!
  trap 'kill -TERM $machine' TERM # it halts in order
  status=0 && wait $machine || status=$?
  # The trap interrupts the wait.
  while kill -0 $machine 2>/dev/null; do status=0 && wait $machine || status=$?; done
done
exit $status
