"""A made report with every section, of the size that a real one has."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

FIGURES = ("auc", "average_precision", "f1", "sensitivity", "specificity")
DATABASES = ("cudb", "mitdb", "nsrdb", "vfdb")


def _subject_names(count: int) -> list[str]:
    return [f"{('cudb/cu', 'vfdb/', 'mitdb/')[i % 3]}{i:02d}" for i in range(count)]


def _evaluation(support: str, shots: int, subjects: int, rng: np.random.Generator) -> dict:
    people = {}
    for name in _subject_names(subjects):
        auc = 1 - rng.beta(0.6, 12)
        people[name] = {
            "auc": auc,
            "average_precision": auc**2,
            "f1": auc**3,
            "sensitivity": auc**1.5,
            "specificity": 1 - (1 - auc) / 2,
            "va_windows": float(rng.integers(20, 300)),
            "non_va_windows": float(rng.integers(200, 900)),
        }
    mean = {f: float(np.mean([p[f] for p in people.values()])) for f in FIGURES}
    worst = min(people, key=lambda name: people[name]["auc"])
    grid = np.concatenate([[0.0], np.geomspace(1e-3, 1, 50)])
    steep = 0.02 * (1 + ["random", "first", "normals", "none"].index(support))
    time_s = np.arange(250) / 125
    strips = []
    for i in range(12 if (support, shots) == ("first", 10) else 2):
        spikes = np.exp(30 * (np.cos(2 * np.pi * 1.3 * (time_s + rng.random())) - 1)) * 5
        waves = 1.4 * np.sin(2 * np.pi * (4.5 * time_s + rng.random()))
        samples = (waves if i % 2 else spikes) + 0.15 * rng.standard_normal(250)
        strips.append(
            {
                "subject": _subject_names(subjects)[i // 2],
                "start_s": round(float(rng.uniform(0, 1800)), 3),
                "va": bool(i % 2),
                "probability": 0.02 if i % 2 else 0.98,
                "samples": [round(float(s), 3) for s in samples - samples.mean()],
            }
        )
    alone = {"nsrdb/16265": {"windows": 4321, "false_positive_rate": 0.0007}}
    needs_va = support in ("first", "random")
    return {
        "protocol": {"support": support, "shots": shots, "draws": 5, "seed": 0},
        "window_s": 2.0,
        "count": subjects,
        "subjects": people,
        "mean": mean,
        "interval": {f: [mean[f] - 0.01, min(mean[f] + 0.005, 1)] for f in FIGURES},
        "percentile_10": {f: mean[f] - 0.1 for f in FIGURES},
        "worst": {"subject": worst, "auc": people[worst]["auc"]},
        "roc": {
            "false_positive_rate": grid.tolist(),
            "sensitivity": [math.pow(x, steep) if x else 0.0 for x in grid],
        },
        "strips": strips,
        "non_va_only": {
            "subjects": {} if needs_va else alone,
            "windows": 0 if needs_va else 4321,
            "false_positive_rate": None if needs_va else 0.0007,
        },
        "set_aside": {"mixed": 1234, "noisy": 56, "unlabelled": 7, "unusable": 89},
        "excluded": {
            "nsrdb/16265": f"has 0 VA and 4321 other windows; {shots + 5} of each are needed",
            "cudb/cu35": f"has 3 VA and 120 other windows; {shots + 5} of each are needed",
        },
    }


def _summary(records: int, episodes: int, alarms: int, rng: np.random.Generator) -> dict:
    hours = 0.5 * records
    found = max(episodes - 2, 0)
    delays = sorted(round(float(d), 2) for d in 5 + rng.gamma(2, 1.5, found))
    return {
        "records": records,
        "hours": hours,
        "judged_hours": 0.95 * hours,
        "unreadable_hours": 0.05 * hours,
        "hours_outside_va": 0.9 * hours,
        "episodes": episodes,
        "found": found,
        "episode_sensitivity": found / episodes if episodes else None,
        "episode_positive_predictivity": found / (found + alarms) if found + alarms else None,
        "duration_sensitivity": 0.913 if episodes else None,
        "duration_positive_predictivity": 0.876 if episodes else None,
        "delay_s": {
            "median": float(np.median(delays)) if delays else None,
            "p90": float(np.quantile(delays, 0.9)) if delays else None,
            "values": delays,
        },
        "false_alarms": alarms,
        "false_alarms_per_hour": alarms / (0.9 * hours),
        "overlong": 1,
        "unscored": 3,
    }


_GOALS = {
    "coarse VF": ("sensitivity", 0.9, 0.87, 312, 0.962, 0.947, True),
    "rapid VT": ("sensitivity", 0.75, 0.67, 24, 0.875, 0.751, None),
    "normal sinus": ("specificity", 0.99, 0.97, 5210, 0.9996, 0.9991, True),
    "other non-shockable": ("specificity", 0.95, 0.88, 2011, 0.941, 0.933, False),
    "asystole": ("specificity", 0.95, 0.92, 0, None, None, None),
}


def _by_rhythm() -> list[dict]:
    rows = [
        {
            "rhythm": rhythm,
            "goal": {"figure": figure, "value": value, "lower_limit": limit},
            "strips": strips,
            "subjects": strips // 12,
            "right": round(strips * (reached or 0)),
            "value": reached,
            "lower_limit_90": lower,
            "met": met,
        }
        for rhythm, (figure, value, limit, strips, reached, lower, met) in _GOALS.items()
    ]
    plain = {"goal": None, "strips": 40, "subjects": 5, "right": 31}
    rows.append({"rhythm": "fine VF", **plain, "value": 0.775, "lower_limit_90": 0.67, "met": None})
    return rows


def _streaming(support: str, rng: np.random.Generator) -> dict:
    sizes = {"cudb": (27, 61, 9), "mitdb": (38, 24, 14), "nsrdb": (12, 0, 0), "vfdb": (17, 88, 21)}
    return {
        "support": support,
        "shots": 10,
        "window_s": 2.0,
        "hop_s": 1.0,
        "databases": {name: _summary(*sizes[name], rng) for name in DATABASES},
        "total": _summary(94, 173, 44, rng),
        "records": {"cudb/cu01": {"episodes": 1}},
        "by_rhythm": _by_rhythm(),
    }


_TRAINED = [("supervised", False), *((m, c) for m in ("maml", "anil") for c in (False, True))]


def _ablation(rng: np.random.Generator) -> list[dict]:
    results = []
    for method, curriculum, adaptation in [
        ("peaks", False, "none"),
        ("reference", False, "none"),
        ("reference", False, "full"),
        *(
            (method, curriculum, adaptation)
            for method, curriculum in _TRAINED
            for adaptation in ("none", "fine-tuning", "pre-fine-tuning", "full")
        ),
    ]:
        for precision in ("fp32", "int8"):
            if precision == "int8" and (method in ("peaks", "reference") or adaptation == "full"):
                continue
            auc, f1 = float(rng.uniform(0.95, 0.995)), float(rng.uniform(0.75, 0.96))
            results.append(
                {
                    "method": method,
                    "curriculum": curriculum,
                    "adaptation": adaptation,
                    "precision": precision,
                    "support": "first",
                    "shots": 10,
                    "subjects": 40,
                    "auc": {"mean": auc, "low": auc - 0.015, "high": auc + 0.004},
                    "f1": {"mean": f1, "low": f1 - 0.05, "high": f1 + 0.03},
                    "worst": {"subject": "vfdb/421", "auc": auc - 0.2},
                    "parameters": 2 if method == "peaks" else 8_213,
                    "macs": 1_000 if method == "peaks" else 412_000,
                }
            )
    return results


def made_report(subjects: int = 40) -> dict[str, Any]:
    """Every section; the same each time."""
    rng = np.random.default_rng(7)
    return {
        "format": 1,
        "title": "Five folds over four databases",
        "notice": "Research software, no medical device. It reports; it does not treat.",
        "precision": "int8",
        "made_by": {
            "command": "fewbeats crossvalidate --data DATA --out RUN --seed 3",
            "seed": 3,
            "versions": {"fewbeats": "0.2.0", "numpy": "2.1.0", "torch": "2.6.0"},
        },
        "recipe": {"network": {"channels": 32}, "outer": {"steps": 800, "lr": 0.001}},
        "bundle": {"name": "default", "version": "2", "backbone": "ab12" * 16},
        "data": {
            "sha256": "c0ffee" * 10 + "abcd",
            "subjects": {"cudb": 27, "mitdb": 38, "nsrdb": 12, "vfdb": 16},
            "excluded": {"cudb/cu30": "1811 invalid samples leave no whole window"},
        },
        "windows": [
            _evaluation(support, shots, subjects, rng)
            for support in ("random", "none", "first", "normals")
            for shots in (10, 1, 5)
        ],
        "streaming": [_streaming(support, rng) for support in ("first", "none", "normals")],
        "ablation": _ablation(rng),
        "parity": [
            {
                "fold": fold,
                "windows": 18_957,
                "correlation": 0.99951,
                "agreement": 0.99843,
                "auc_fp32": 0.99799,
                "auc_int8": 0.99796,
                "worst_window": 17,
                "worst_difference": 1.234,
            }
            for fold in range(5)
        ],
    }


@pytest.fixture
def report() -> dict[str, Any]:
    return made_report()


@pytest.fixture(scope="session")
def make_report() -> Callable[..., dict[str, Any]]:
    return made_report
