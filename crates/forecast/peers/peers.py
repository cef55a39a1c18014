#!/usr/bin/env python3
"""Forecasts of the peers for the windows that the bench `pinball` forecasts.

usage: peers.py SERIES_FOLDER OUT_FOLDER naive|ets|prophet|lightgbm NAME:TEST_DAYS...

OUT_FOLDER holds NAME-HORIZON-features.csv, as the bench wrote them with --out, and gets NAME-HORIZON-PEER.csv: start of the
window and quantiles .5, .9 and .95. HORIZON is `next` (the next hour, made each hour) or `day` (24 hours, made at midnight).
A model is refitted weekly, in tests of at most 8 days and by Prophet daily, on what was known at midnight; between refits its
state follows what comes, where it has a state (all but Prophet, whose forecasts are those of the last midnight).
"""
import csv, pathlib, random, statistics, sys, time, warnings

import numpy as np

QUANTILES = (0.5, 0.9, 0.95)
# Of the bench's setup: what a model is fitted on at most.
HISTORY_DAYS = 120
TRIALS = 40


def read_series(path):
    with open(path, newline="") as lines:
        rows = list(csv.DictReader(lines))
    return int(rows[0]["start_s"]), np.array([float(row["value"]) for row in rows])


def write(path, start_s, told):
    """`told` is (index of the hour, three quantiles)."""
    with open(path, "w", newline="") as lines:
        rows = csv.writer(lines, lineterminator="\n")
        rows.writerow(("start_s", "q500", "q900", "q950"))
        for index, quantiles in told:
            # No peer knows that demand is never negative, and some cross their quantiles.
            values = np.maximum.accumulate(np.maximum(quantiles, 0.0))
            rows.writerow((start_s + index * 3600, *(f"{value:.4f}" for value in values)))


def refits(test, end, days):
    """Each stretch of the test with the hour at which its model is fitted."""
    step = 24 if days <= 8 else 7 * 24
    return [(first, min(first + step, end)) for first in range(test, end, step)]


def of_levels(answer, lead):
    return answer["mean"][lead], answer["hi-80"][lead], answer["hi-90"][lead]


def statistical(make, values, test, days, roots):
    """Models of statsforecast with their own intervals: level 80 ends at the quantile .9, level 90 at .95."""
    values = np.sqrt(values) if roots else values
    back = (lambda quantiles: np.maximum(quantiles, 0.0) ** 2) if roots else np.asarray
    told = {"next": [], "day": []}
    for first, end in refits(test, len(values), days):
        model = make().fit(values[max(0, first - HISTORY_DAYS * 24) : first])
        for origin in range(first, end):
            known = values[max(0, origin - HISTORY_DAYS * 24) : origin]
            answer = model.forward(known, h=1, level=[80, 90])
            told["next"].append((origin, back(of_levels(answer, 0))))
            if origin % 24 == test % 24:
                answer = model.forward(known, h=24, level=[80, 90])
                told["day"] += [(origin + lead, back(of_levels(answer, lead))) for lead in range(24)]
    return told


def naive(values, test, days):
    from statsforecast.models import SeasonalNaive

    for season in (24, 168):
        told = {"next": [], "day": []}
        for origin in range(test, len(values)):
            known = values[max(0, origin - HISTORY_DAYS * 24) : origin]
            for name, leads in (("next", 1), ("day", 24)):
                if leads == 1 or origin % 24 == test % 24:
                    answer = SeasonalNaive(season).forecast(known, h=leads, level=[80, 90])
                    told[name] += [(origin + lead, of_levels(answer, lead)) for lead in range(leads)]
        yield f"naive{season}", told


def ets(values, test, days):
    from statsforecast.models import AutoETS

    yield "ets", statistical(lambda: AutoETS(season_length=24), values, test, days, roots=False)
    yield "ets-roots", statistical(lambda: AutoETS(season_length=24), values, test, days, roots=True)


def prophet(values, test, days):
    import logging

    import pandas as pd
    from prophet import Prophet

    logging.getLogger("cmdstanpy").setLevel(logging.ERROR)
    hours = pd.date_range("1970-01-05", periods=len(values), freq="h")
    told = []
    for first in range(test, len(values), 24):
        begin = max(0, first - HISTORY_DAYS * 24)
        model = Prophet(yearly_seasonality=False, weekly_seasonality=True, daily_seasonality=True)
        model.fit(pd.DataFrame({"ds": hours[begin:first], "y": values[begin:first]}), seed=1)
        np.random.seed(1)
        samples = model.predictive_samples(pd.DataFrame({"ds": hours[first : first + 24]}))["yhat"]
        quantiles = np.quantile(samples, QUANTILES, axis=1).T
        told += [(first + lead, quantiles[lead]) for lead in range(24)]
    yield "prophet", {"next": told, "day": told}


def read_features(path):
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3:]


def pinball(actual, told, share):
    return np.maximum(share * (actual - told), (share - 1) * (actual - told))


def trial(random):
    return {
        "num_leaves": random.choice([3, 4, 6, 8, 12, 16, 31]),
        "learning_rate": 10 ** random.uniform(-2, -0.7),
        "n_estimators": random.choice([50, 100, 200, 400]),
        "min_child_samples": random.choice([5, 10, 20, 40, 80]),
        "subsample": random.uniform(0.5, 1.0),
        "subsample_freq": 1,
        "colsample_bytree": random.uniform(0.3, 1.0),
        "reg_lambda": 10 ** random.uniform(-2, 2),
    }


def lightgbm(values, test, days, series_start_s, features):
    """The same rows as ours. Roots as the target: a quantile of roots is the root of the quantile."""
    import lightgbm as library

    def fit(parameters, share, rows, table, roots):
        fixed = {"objective": "quantile", "alpha": share, "verbose": -1, "num_threads": 1, "seed": 1}
        rounds = parameters["n_estimators"]
        parameters = {key: value for key, value in parameters.items() if key != "n_estimators"}
        return library.train(fixed | parameters, library.Dataset(table[rows], roots[rows]), rounds)

    told = {}
    for name, path in features.items():
        origins, starts, roots, table = read_features(path)
        hours = ((starts - series_start_s) / 3600).astype(int)
        made = ((origins - series_start_s) / 3600).astype(int)
        # A row is known when its window has passed.
        known = lambda at: (hours < at) & (made >= at - HISTORY_DAYS * 24)
        validation = test - days * 24
        seen, unseen = known(validation), (made >= validation) & (hours < test)
        best = None
        generator = random.Random(1)
        for _ in range(TRIALS):
            parameters = trial(generator)
            loss = 0.0
            for share in QUANTILES:
                answer = np.maximum(fit(parameters, share, seen, table, roots).predict(table[unseen]), 0.0) ** 2
                loss += pinball(roots[unseen] ** 2, answer, share).sum()
            if best is None or loss < best[0]:
                best = (loss, parameters)
        demand = (roots[unseen] ** 2).sum()
        print(f"  lightgbm {name}: loss on the validation {best[0] / 3 / demand:.4f} by {best[1]}", flush=True)
        told[name] = []
        for first, end in refits(test, len(values), days):
            asked = (made >= first) & (made < end)
            models = [fit(best[1], share, known(first), table, roots) for share in QUANTILES]
            answers = np.maximum([model.predict(table[asked]) for model in models], 0.0).T ** 2
            told[name] += list(zip(hours[asked], answers))
    yield "lightgbm", told


def main():
    warnings.filterwarnings("ignore")
    series, out, peer = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    for argument in sys.argv[4:]:
        name, days = argument.split(":")
        start_s, values = read_series(series / f"{name}.csv")
        days = int(days)
        test = len(values) - days * 24
        began = time.monotonic()
        arguments = (values, test, days)
        if peer == "lightgbm":
            arguments += (start_s, {horizon: out / f"{name}-{horizon}-features.csv" for horizon in ("next", "day")})
        for model, told in globals()[peer](*arguments):
            for horizon, rows in told.items():
                write(out / f"{name}-{horizon}-{model}.csv", start_s, rows)
            print(f"{name} {model}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
