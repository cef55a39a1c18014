#!/bin/sh
# Runs in the builder: makes /programs, and /runtime with all that they need beside themselves.
set -eu

programs="kompass-scheduler-extender kompass-admission-webhook kompass-predictor kompass"
mkdir -p /programs /runtime/tmp

if [ -d programs ]; then
    cp programs/* /programs/
else
    # The same sources give the same bytes wherever they lie and whenever they are built.
    export RUSTFLAGS="--remap-path-prefix=$PWD=/src --remap-path-prefix=/cargo=/cargo"
    export CARGO_HOME=/cargo/home CARGO_TARGET_DIR=/cargo/target CARGO_INCREMENTAL=0
    export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-0}"
    # Every checkout lies in this folder, and cargo goes by the times of files: what another one has left in the cache
    # must not pass for this one's. So what differs from the sources of the last build is newer than that build.
    find . -type f | LC_ALL=C sort | xargs -d '\n' sha256sum >/tmp/sources
    if [ -f /cargo/sources ]; then
        grep -vxFf /cargo/sources /tmp/sources | cut -c 67- | xargs -r -d '\n' touch
    fi
    # All at once: features are the same for all, and nothing is compiled twice.
    cargo build --locked --profile "$PROFILE" \
        --package kompass-scheduler-extender --package kompass-admission-webhook \
        --package kompass-predictor --package kompass-cli --bins
    cp /tmp/sources /cargo/sources
    folder="$PROFILE"
    [ "$PROFILE" != dev ] || folder=debug
    for program in $programs; do
        cp "/cargo/target/$folder/$program" /programs/
        # Names of functions are a fifth of a program. Its errors say where they come from without them.
        strip --strip-all "/programs/$program"
    done
fi

# The C library and what else the programs are linked with, found by the loader itself.
for program in /programs/*; do
    ldd "$program" | awk '$3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }'
done | sort -u | while read -r library; do
    mkdir -p "/runtime$(dirname "$library")"
    cp -L "$library" "/runtime$library"
done

# Names for the numbers, and the authorities that AWS and others are known by.
mkdir -p /runtime/etc/ssl/certs
printf 'kompass:x:65532:65532:KOMPASS:/:/nonexistent\n' >/runtime/etc/passwd
printf 'kompass:x:65532:\n' >/runtime/etc/group
printf 'hosts: files dns\n' >/runtime/etc/nsswitch.conf
cp -L /etc/ssl/certs/ca-certificates.crt /runtime/etc/ssl/certs/
chmod 1777 /runtime/tmp
