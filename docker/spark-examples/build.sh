#!/bin/sh
# Compiles the examples against a Spark distribution and puts the jar into it: build.sh SPARK_HOME
# The jar has the name and place that a full Spark distribution gives to its own examples.
set -eu
spark_home=$1
sources=$(cd "$(dirname "$0")" && pwd)/src
work=$(mktemp -d "$spark_home/examples.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

mkdir "$work/classes"
find "$sources" -name '*.java' >"$work/sources"
# 17 is the oldest Java that all supported Spark versions have in common.
javac --release 17 -proc:none -cp "$spark_home/jars/*" -d "$work/classes" "@$work/sources"
mkdir -p "$spark_home/examples/jars"
jar --create --file "$work/spark-examples.jar" --date 2000-01-01T00:00:00Z -C "$work/classes" .
mv "$work/spark-examples.jar" "$spark_home/examples/jars/spark-examples.jar"
