"""`python -m training.bench quality|speed|resume`: measures a part of the school and adds it to a report in JSON."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cluster.errors import FenzhenError
from training.bench import quality, resume, speed
from training.bench.child import LapFailed
from training.bench.ground import ground_in
from training.bench.report import add
from training.environment import environment

REPORT: Final = Path("build/bench/training.json")
_SMALL: Final = "smollm2-135m"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one part. The exit code is 1 where it is not as it should be, 2 where it could not be measured."""
    options = _options(arguments)
    measure = {"quality": _quality, "speed": _speed, "resume": _resume}[options.part]
    started_s = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="fenzhen-bench-") as folder:
            is_good = measure(options, Path(folder))
    except (FenzhenError, LapFailed, speed.NotComparable) as error:
        _say(str(error))
        return 2
    add(options.json, {"environment": dict(environment())})
    _say(f"{time.monotonic() - started_s:.0f} s; written to {options.json}")
    return 0 if is_good else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.bench", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    better = parts.add_parser("quality", help="the metric before and after, with intervals (5 minutes on two cores)")
    faster = parts.add_parser("speed", help="tokens/s and memory beside a plain loop (10 minutes on two cores)")
    same = parts.add_parser("resume", help="killed ten times, does the same come out (5 minutes on two cores)")
    for part in (better, faster, same):
        part.add_argument("--json", type=Path, default=REPORT, help=f"the report; without: {REPORT}")
        part.add_argument("--quick", action="store_true", help="a few steps: that it works, no figures")
        part.add_argument("--base", default=_SMALL, help=f"a model of our profiles, or ./a-folder; without: {_SMALL}")
    better.add_argument("--qlora", action="store_true", help="on the base in 4 bit (nf4)")
    faster.add_argument("--rounds", type=int, default=3, help="how often each loop is run; without: 3")
    same.add_argument("--seed", type=int, default=6, help="of the moments of kills")
    return parser.parse_args(arguments)


def _quality(options: argparse.Namespace, folder: Path) -> bool:
    overrides = ["train.max_steps=3", "evaluation.max_rows=8"] if options.quick else []
    overrides += ["quantise_base=nf4"] if options.qlora else []
    name = f"{options.base}{' nf4' if options.qlora else ''}"
    found = quality.measure(ground_in(folder, options.base, overrides), _say)
    is_default = options.base == _SMALL and not options.qlora
    add(options.json, quality.as_report(found, name, is_default=is_default))
    print(quality.as_table(found, name))
    # So few steps teach nothing: what counts is that all of it ran.
    return options.quick or bool(found["after"]["ci_low"] > found["before"]["ci_high"])


def _speed(options: argparse.Namespace, folder: Path) -> bool:
    steps, rounds = (3, 1) if options.quick else (20, options.rounds)
    ground = ground_in(folder, options.base, [f"train.max_steps={steps}", "train.checkpoint_every_steps=10"])
    found = speed.measure(ground, rounds, _say)
    add(options.json, speed.as_report(found, ground))
    print(speed.as_table(found))
    return options.quick or (found.tokens_per_s_ratio >= 1.0 and found.peak_memory_ratio <= 1.0)


def _resume(options: argparse.Namespace, folder: Path) -> bool:
    kills, steps = (2, 6) if options.quick else (10, 24)
    shape = [f"train.max_steps={steps}", "train.batch_size=2", "train.checkpoint_every_steps=2"]
    ground = ground_in(folder, options.base, shape)
    found = resume.measure(ground, kills, options.seed, _say)
    add(options.json, resume.as_report(found, ground))
    print(resume.as_table(found))
    return found.is_equal


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
