#!/usr/bin/env python3
"""Scores forecasts, ours and the peers' alike.

usage: score.py SERIES_FOLDER OUT_FOLDER

Per series and horizon each OUT_FOLDER/NAME-HORIZON-MODEL.csv: pinball loss, mean over the quantiles .5, .9 and .95 and over
the windows, by the mean demand of these windows; how often .9 was not exceeded, with 1.96 standard errors of the means of
days (windows of one day go together). Then our losses by the best peer's, and the coverage of all windows.
Standard library only.
"""
import collections, csv, gzip, pathlib, statistics, sys

QUANTILES = (("q500", 0.5), ("q900", 0.9), ("q950", 0.95))
OURS = "ridge"


def read(path):
    opened = gzip.open(path, "rt", newline="") if path.suffix == ".gz" else open(path, newline="")
    with opened as lines:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]


def score(rows, actual):
    loss, demand, covered = 0.0, 0.0, collections.defaultdict(list)
    for row in rows:
        value = actual[row["start_s"]]
        demand += value
        for key, share in QUANTILES:
            loss += max(share * (value - row[key]), (share - 1) * (value - row[key]))
        covered[row["start_s"] // 86400].append(value <= row["q900"])
    days = [statistics.fmean(day) for day in covered.values()]
    error = 1.96 * statistics.stdev(days) / len(days) ** 0.5
    return loss / 3 / demand, sum(map(sum, covered.values())), sum(map(len, covered.values())), error


def main():
    series, out = map(pathlib.Path, sys.argv[1:])
    table = collections.defaultdict(dict)
    for path in sorted(out.glob("*.csv*")):
        name, horizon, model = path.name.split(".")[0].split("-", 2)
        if model != "features":
            actual = {row["start_s"]: row["value"] for row in read(series / f"{name}.csv")}
            table[name, horizon][model] = score(read(path), actual)
    won, pooled, of = 0, 0, 0
    print("series\thorizon\tmodel\tloss\tcoverage of .9\t+-\twindows")
    for (name, horizon), scores in table.items():
        for model, (loss, covered, windows, error) in sorted(scores.items(), key=lambda item: item[1]):
            print(f"{name}\t{horizon}\t{model}\t{loss:.4f}\t{covered / windows:.3f}\t{error:.3f}\t{windows}")
        assert len({windows for _, _, windows, _ in scores.values()}) == 1, "not the same windows"
        loss, covered, windows, _ = scores[OURS]
        best = min((other[0], model) for model, other in scores.items() if model not in (OURS, "naive"))
        print(f"{name}\t{horizon}\tours by the best peer's ({best[1]})\t{loss / best[0]:.3f}")
        won, pooled, of = won + (loss < best[0]), pooled + covered, of + windows
    print(f"below every peer on {won} of {len(table)}; coverage of .9 over all windows {pooled / of:.3f}")


main()
