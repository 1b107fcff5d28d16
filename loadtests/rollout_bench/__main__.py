"""`python -m loadtests.rollout_bench judge --json PATH`: adds a part to the report of the rollouts."""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from cluster.release_settings import Thresholds
from loadtests.rollout_bench import broken as broken_bench
from loadtests.rollout_bench.city import measure_drift
from loadtests.rollout_bench.judges import measure
from loadtests.rollout_bench.single import measure_single
from loadtests.rollout_bench.streams import MINUTES

REPORT = Path("build/bench/rollout.json")


def main(arguments: list[str] | None = None) -> int:
    """Measure one part and write it beside those that the report has."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.rollout_bench", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    judge = parts.add_parser("judge", help="how often the judge errs, on simulated streams (6 minutes on a quiet core)")
    drift = parts.add_parser("drift", help="how often the watch over drift errs, on a simulated city (some minutes)")
    broken = parts.add_parser("broken", help="broken versions on a real engine, rolled back by themselves (20 minutes)")
    for part in (judge, drift, broken):
        part.add_argument("--json", type=Path, default=REPORT, help=f"the report; without: {REPORT}")
        part.add_argument("--quick", action="store_true", help="a few small runs: that it works, no figures")
        part.add_argument("--seed", type=int, default=20, help="of all that is drawn")
    options = parser.parse_args(arguments)
    if options.part == "broken":
        return _broken(options)
    started_s = time.monotonic()
    if options.part == "judge":
        runs, minutes = (40, 120) if options.quick else (1000, MINUTES)
        found = measure(runs, minutes, options.seed, Thresholds(), _say)
        _say("The judge itself, answer by answer")
        found["single"] = measure_single(2 if options.quick else 40, options.seed, Thresholds())
    else:
        versions, looks = (5, 3) if options.quick else (200, 30)
        _say(f"{versions} versions, {looks} days each")
        found = measure_drift(versions, looks, 60, options.seed)
    found["seconds"] = round(time.monotonic() - started_s, 1)
    add(options.json, options.part, found)
    _say(f"Written to {options.json}")
    return 0


def _broken(options: argparse.Namespace) -> int:
    """Measure on real engines; the exit code is 1 unless all went as it should."""
    kinds = broken_bench.KINDS[:1] if options.quick else broken_bench.KINDS
    found = broken_bench.measure(_say, kinds)
    add(options.json, "promoted_version", asdict(found.promoted))
    add(options.json, "broken_versions", [asdict(each) for each in found.broken])
    _say(broken_bench.table(found.broken))
    _say(f"Written to {options.json}")
    return 0 if found.promoted.promoted and all(each.rolled_back for each in found.broken) else 1


def add(report: Path, part: str, found: object) -> None:
    """Put one part into the report and keep the others."""
    whole = json.loads(report.read_text()) if report.exists() else {}
    whole[part] = found
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(whole, indent=2) + "\n")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
