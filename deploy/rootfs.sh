#!/bin/sh
# Lays out the file system of the container image: the binary and what it needs to run, nothing else.
# The Dockerfile copies this folder into an empty image; deploy/check runs the same folder under chroot.
# No shell, no package manager, no C library beyond the few objects the dynamic loader asks for.
#
# Usage: deploy/rootfs.sh BINARY DESTDIR     (DESTDIR must be new or empty; run as root to give /data its owner)
set -eu

readonly RUN_AS=65532 # The user id that distroless images and Kubernetes examples use for "nonroot".

fail() {
    echo "rootfs.sh: $*" >&2
    exit 1
}

[ $# -eq 2 ] || fail "usage: deploy/rootfs.sh BINARY DESTDIR"
binary=$1
root=$2
[ -x "$binary" ] || fail "$binary is not an executable; build it first: cargo build --release"
[ -z "$(ls -A "$root" 2>/dev/null)" ] || fail "$root is not empty"

certificates=/etc/ssl/certs/ca-certificates.crt
[ -r "$certificates" ] || fail "$certificates is missing; install the Debian package ca-certificates"

# Until 2.33 the C library loaded name resolution (/etc/hosts, DNS) from files that no tool lists. Since 2.34 it is built in.
version=$(ldd --version | sed -n '1s/.* //p')
case $version in
2.3[4-9] | 2.[4-9][0-9]) ;;
*) fail "needs the GNU C library 2.34 or later, found ${version:-none}" ;;
esac

umask 022
mkdir -p "$root/etc/ssl/certs"
install -m 0755 "$binary" "$root/postern"

# Each line of ldd names one object by the absolute path at which the loader will look for it, the loader itself too.
ldd "$binary" | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*/\1/p' | while read -r object; do
    mkdir -p "$root$(dirname "$object")"
    install -m 0755 "$(readlink -f "$object")" "$root$object"
done

install -m 0644 "$certificates" "$root$certificates"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
echo "postern:x:$RUN_AS:$RUN_AS:postern:/data:/" >"$root/etc/passwd"
echo "postern:x:$RUN_AS:" >"$root/etc/group"

# State: private to the process. The certificates that agents trust are the one thing in it that others may read.
mkdir -p "$root/data/trust"
if [ "$(id -u)" -eq 0 ]; then
    chown -R "$RUN_AS:$RUN_AS" "$root/data"
fi
chmod 0700 "$root/data"
chmod 0755 "$root/data/trust"
