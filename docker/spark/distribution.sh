#!/bin/sh
# Makes a SPARK_HOME from the source package that the Spark project publishes on PyPI:
# distribution.sh VERSION DIRECTORY. DIRECTORY must not exist; it appears only when it is whole.
set -eu
version=$1
target=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

echo "preparing a Python environment"
# The package's build description needs both even for a mere download; newer setuptools cannot read it.
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check wheel 'setuptools<75'

echo "downloading pyspark $version (300 to 460 MB)"
"$work/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
    --no-build-isolation --dest "$work" "pyspark==$version"
package=pyspark-$version.tar.gz
(
    cd "$work"
    if ! grep " $package\$" "$here/checksums" >expected; then
        echo "no checksum is known for $package: add it to docker/spark/checksums" >&2
        exit 1
    fi
    sha256sum --check --quiet expected
)

echo "unpacking $package"
mkdir "$work/unpacked" "$work/home"
tar -xzf "$work/$package" -C "$work/unpacked" --strip-components=1
# The package keeps the distribution below deps/, and the Python side beside it.
for part in bin sbin jars data examples; do
    mv "$work/unpacked/deps/$part" "$work/home/$part"
done
mkdir "$work/home/python" "$work/home/work-dir"
mv "$work/unpacked/lib" "$work/home/python/lib"
chmod 0755 "$work/home" "$work"/home/bin/* "$work"/home/sbin/*
chown -R 0:0 "$work/home"
chown 185:0 "$work/home/work-dir"
chmod 0775 "$work/home/work-dir"
rm -f "$work"/home/bin/*.cmd
# Spark's own scripts take a folder with this file for a distribution.
echo "Spark $version" >"$work/home/RELEASE"
mv "$work/home" "$target"
