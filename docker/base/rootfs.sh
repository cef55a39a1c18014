#!/bin/sh
# Makes the root file system of a small Debian system: rootfs.sh ARCHIVE.tar
# Needs root (debootstrap makes device nodes and enters the new root).
set -eu
archive=$1
suite=bookworm
root=$(mktemp -d "$(dirname "$archive")/rootfs.XXXXXX")
trap 'rm -rf --one-file-system "$root"' EXIT
trap 'exit 1' HUP INT TERM

# Without DEBIAN_MIRROR it is debootstrap's own choice.
debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}
mirror=$(awk '$1 == "deb" { print $2; exit }' "$root/etc/apt/sources.list")

# What a container never reads, in the spirit of the "slim" images.
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* \
    "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/* "$root"/var/log/*.log
# Security fixes reach `apt-get install` in the images built on top.
{
    echo "deb $mirror $suite main"
    echo "deb $mirror $suite-updates main"
    echo "deb ${mirror}-security $suite-security main"
} >"$root/etc/apt/sources.list"
# The resolver and host name of the building machine must not get into the image.
rm -f "$root/etc/resolv.conf" "$root/etc/hostname"
mkdir -p "$root/usr/share/man/man1"

tar --numeric-owner --one-file-system -C "$root" -cf "$archive.part" .
mv "$archive.part" "$archive"
