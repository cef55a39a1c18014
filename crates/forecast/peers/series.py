#!/usr/bin/env python3
"""Turns the four public traces into hourly series, the input of the bench `pinball` and of `peers.py`.

usage: series.py FOLDER OUT_FOLDER

FOLDER holds philly.csv.gz, openb_pods.csv.gz, surf_tasks.csv.gz and spot_hourly.csv.gz; README.md says where they come from.
Each OUT_FOLDER/NAME.csv is `start_s,value`: what was submitted in the hour that begins then, by the trace's own clock.
Only whole days count, from the first one on that is as busy as those after it (philly and openb begin with jobs that were
already running). Standard library only.
"""
import collections, csv, datetime, gzip, pathlib, statistics, sys

HOUR, DAY = 3600, 86400


def philly(row):
    time = datetime.datetime.fromisoformat(row["timestamp"]).replace(tzinfo=datetime.timezone.utc)
    return time.timestamp(), float(row["num_gpus"])


def openb(row):
    return float(row["creation_time"]), float(row["cpu_milli"]) / 1000


def surf(row):
    return float(row["submission_time_ms"]) / 1000, 1.0


def spot(row):
    return float(row["submit_hour"]) * HOUR, float(row["jobs"])


# Name, file, what a row says, and the first day of the series: days since the clock's begin (philly: 2017-10-03).
TRACES = [
    ("philly", "philly.csv.gz", philly, 17442),
    ("openb", "openb_pods.csv.gz", openb, 118),
    ("surf", "surf_tasks.csv.gz", surf, 19174),
    ("spot", "spot_hourly.csv.gz", spot, 0),
]


def main():
    folder, out = map(pathlib.Path, sys.argv[1:])
    out.mkdir(exist_ok=True)
    for name, file, read, start in TRACES:
        hours = collections.Counter()
        with gzip.open(folder / file, "rt", encoding="utf-8", newline="") as lines:
            for time, value in map(read, csv.DictReader(lines)):
                hours[int(time // HOUR)] += value
        # The last hour may be cut off, and so the day that holds it is not whole.
        end = max(hours) // 24
        with open(out / f"{name}.csv", "w", newline="") as lines:
            rows = csv.writer(lines, lineterminator="\n")
            rows.writerow(("start_s", "value"))
            rows.writerows((hour * HOUR, f"{hours[hour]:g}") for hour in range(start * 24, end * 24))
        print(f"{name}: {end - start} days, {start * DAY} to {end * DAY}")


main()
