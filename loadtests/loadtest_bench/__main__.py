"""`python -m loadtests.loadtest_bench agreement --json PATH`: adds a part to the report of the load tests."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtests.judging import agreement
from loadtests.surroundings import machine_words, version_words

REPORT = Path("build/bench/loadtest.json")
ROUTING_PAGE = Path("build/bench/routing.html")

AGREEMENT = Path(agreement.__file__).with_name(agreement.FILE)

Say = Callable[[str], None]


def main(arguments: list[str] | None = None) -> int:
    """Measure one part and write it beside those that the report has."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.loadtest_bench", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    for name, (_, words) in _PARTS.items():
        part = parts.add_parser(name, help=words)
        part.add_argument("--json", type=Path, default=REPORT, help=f"the report; without: {REPORT}")
        part.add_argument("--page", type=Path, default=ROUTING_PAGE, help="where the page on routing goes")
        part.add_argument("--keep", type=Path, help="keep each run's folder below this one")
        part.add_argument("--ship", action="store_true", help="agreement: what every report tells from now on")
        part.add_argument("--quick", action="store_true", help="a few small runs: that it works, no figures")
    options = parser.parse_args(arguments)
    measure, _ = _PARTS[options.part]
    with tempfile.TemporaryDirectory(prefix="fenzhen-bench-") as thrown_away:
        folder = (options.keep or Path(thrown_away)) / options.part
        folder.mkdir(parents=True, exist_ok=True)
        began_s = time.monotonic()
        found = measure(options, folder, _say)
    print(json.dumps(found, indent=2, ensure_ascii=False))
    add(options.json, {**found, f"{options.part}_seconds": round(time.monotonic() - began_s, 1)})
    _say(f"Written to {options.json}")
    return 0


def _agreement(options: argparse.Namespace, folder: Path, say: Say) -> dict[str, Any]:
    from loadtests.loadtest_bench.agreement import on_stand_in, shipped

    rounds, seconds = (1, 5.0) if options.quick else (3, 8.0)
    found = on_stand_in(folder, rounds, seconds, say)
    if options.ship:
        told = shipped(found, machine_words(), version_words())
        AGREEMENT.write_text(told.model_dump_json(indent=1) + "\n", encoding="utf-8")
        say(told.sentence)
    return {"difference_from_public_tool": found}


def _agreement_engine(options: argparse.Namespace, folder: Path, say: Say) -> dict[str, Any]:
    from loadtests.loadtest_bench.agreement import on_engine

    rounds, seconds = (1, 8.0) if options.quick else (5, 20.0)
    return {"difference_on_a_real_engine": on_engine(folder, rounds, seconds, say)}


def _lag(options: argparse.Namespace, folder: Path, say: Say) -> dict[str, Any]:
    from loadtests.loadtest_bench.lag import measure

    return measure(folder, 5.0 if options.quick else 30.0, say)


def _consultations(options: argparse.Namespace, folder: Path, say: Say) -> dict[str, Any]:
    from loadtests.loadtest_bench.consultations import measure

    people, seconds = (100, 10.0) if options.quick else (2000, 60.0)
    return {"consultations_2000": measure(folder, people, seconds, say)}


def _routing(options: argparse.Namespace, folder: Path, say: Say) -> dict[str, Any]:
    from loadtests.loadtest_bench.routing import compare

    return {"routing_gain": compare(folder, options.page, say, 4 if options.quick else None)}


_PARTS: dict[str, tuple[Callable[[argparse.Namespace, Path, Say], dict[str, Any]], str]] = {
    "agreement": (
        _agreement,
        "our figures beside those of `vllm bench serve`, in turn, at a stand-in engine (4 minutes)",
    ),
    "agreement-engine": (_agreement_engine, "the same at a real engine (7 minutes)"),
    "lag": (_lag, "how late the generator sends at 300 requests/s and beyond (2 minutes)"),
    "consultations": (_consultations, "2,000 people at once through the real router (2 minutes)"),
    "routing": (_routing, "what routing buys on the quick-start stack (25 minutes)"),
}


def add(report: Path, found: dict[str, Any]) -> None:
    """Put parts into the report and keep the others."""
    whole = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    whole |= {"machine": machine_words(), "versions": version_words(), **found}
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
