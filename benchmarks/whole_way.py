"""What the device's work costs: from the bytes of a sensor to decisions, stage by stage.

    python benchmarks/whole_way.py [--seconds 600] [--loops 5] [--json FILE]

Needs nothing but the device's own install. Synthetic ECG goes through the wire format in
packets of 100 ms. Each figure is the median of the loops, after one that warms up; nothing is
asserted, a benchmark reports.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime

import fewbeats
from fewbeats.device.adapt import adapt
from fewbeats.device.monitor import Monitor
from fewbeats.device.preprocess import Preprocessor
from fewbeats.device.shipped import load_bundle
from fewbeats.firmware_bridge.codecs.fewbeats import FewbeatsDecoder
from fewbeats.firmware_bridge.codecs.fewbeats_packets import Resolution, encode_ecg
from fewbeats.firmware_bridge.simulate.scenario import Scenario
from fewbeats.firmware_bridge.simulate.synthetic import synthetic_chunks

RATE_HZ = 250.0
PACKET_SAMPLES = 25


def timed(work: Callable[[], object], loops: int) -> float:
    """Median seconds of ``work``, which is run once before to warm up."""
    work()
    seconds = []
    for _ in range(loops):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600, help="of ECG")
    parser.add_argument("--loops", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()

    bundle = load_bundle()
    scenario = Scenario.parse(f"sinus:{options.seconds}")
    chunks = list(synthetic_chunks(scenario, PACKET_SAMPLES, RATE_HZ, seed=0))
    wire = b"".join(encode_ecg(chunk, Resolution()) for chunk in chunks)
    window = np.random.default_rng(0).normal(size=(1, 1, bundle.window.samples)).astype(np.float32)
    support = np.repeat(bundle.prototypes, 2, axis=0)[:20]
    va = np.arange(len(support)) >= len(support) // 2

    def preprocess() -> None:
        preprocessor = Preprocessor(bundle.window)
        for chunk in chunks:
            preprocessor.feed(chunk)

    def whole_way() -> None:
        decoder, monitor = FewbeatsDecoder(), Monitor(bundle)
        for start in range(0, len(wire), 4096):
            for chunk in decoder.feed(wire[start : start + 4096]):
                monitor.feed(chunk)

    def embed() -> None:
        for _ in range(1000):
            bundle.backbone.embed(window)

    per_second_us = 1e6 / options.seconds
    decode = timed(lambda: FewbeatsDecoder().feed(wire), options.loops)
    whole = timed(whole_way, options.loops)
    fit = timed(lambda: adapt(bundle.start, support, va, bundle.adapt), options.loops)
    report = {
        "machine": platform.machine(),
        "processor": platform.processor() or "unknown",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "fewbeats": fewbeats.__version__,
        "backbone_sha256": bundle.backbone.sha256,
        "ecg_s": options.seconds,
        "loops": options.loops,
        "decode_us_per_s": decode * per_second_us,
        "preprocess_us_per_s": timed(preprocess, options.loops) * per_second_us,
        "backbone_us_per_window": timed(embed, options.loops) * 1e3,
        "calibration_ms": fit * 1e3,
        "whole_way_us_per_s": whole * per_second_us,
        "whole_way_times_real_time": options.seconds / whole,
    }
    for name, value in report.items():
        print(f"{name:28}{value:.4g}" if isinstance(value, float) else f"{name:28}{value}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
