"""What the engines said of themselves while the test ran."""

from collections.abc import Callable, Sequence
from typing import Final

from matplotlib.axes import Axes

from loadtests.page.drawing import SERIES, Chart, counts, key, numbers, seconds_axis, shares, sheet, y_title
from loadtests.page.time_chart import behind
from loadtests.records.run import EngineReading, Run

_MOST_ENGINES: Final = len(SERIES)
_MOST_POINTS: Final = 400


def engine_chart(run: Run, end_s: float) -> Chart | None:
    """Requests running and waiting, and memory for keys and values; None if no engine could be read."""
    engines: dict[str, list[EngineReading]] = {}
    for reading in sorted(run.engines.readings, key=lambda reading: reading.at_s):
        engines.setdefault(reading.engine, []).append(reading)
    # Where there are many, those that had to let most requests wait.
    names = sorted(engines, key=lambda name: -max(reading.waiting for reading in engines[name]))[:_MOST_ENGINES]
    names.sort()
    if not names:
        return None
    has_memory = any(reading.kv_used_ratio is not None for name in names for reading in engines[name])

    def lines(axes: Axes, value: Callable[[EngineReading], float | None]) -> None:
        for place, name in enumerate(names):
            readings = _thinned(engines[name])
            values = numbers(value(reading) for reading in readings)
            axes.plot([reading.at_s for reading in readings], values, color=SERIES[place], linewidth=1.1)

    with sheet(heights=(1.1, 1.1, 1.1) if has_memory else (1.1, 1.1)) as drawn:
        lines(drawn.axes[0], lambda reading: reading.running)
        lines(drawn.axes[1], lambda reading: reading.waiting)
        y_title(drawn.axes[0], "requests running")
        y_title(drawn.axes[1], "requests waiting in the engine's queue")
        counts(drawn.axes[0])
        counts(drawn.axes[1])
        if has_memory:
            lines(drawn.axes[2], lambda reading: reading.kv_used_ratio)
            shares(drawn.axes[2])
            y_title(drawn.axes[2], "KV cache in use")
        for axes in drawn.axes:
            behind(axes, run, numbered=axes is drawn.axes[0])
        seconds_axis(drawn.axes[-1], 0.0, end_s)
        svg = drawn.svg("requests running and waiting in the engines, and their KV cache, over time")
    left = len(engines) - len(names)
    note = f"The {len(names)} engines with the longest queues; {left} more are left out." if left else ""
    keys = tuple(key(name, SERIES[place]) for place, name in enumerate(names))
    return Chart("引擎", "Inside the engines", svg, keys, note)


def _thinned(readings: Sequence[EngineReading]) -> list[EngineReading]:
    """Few enough to draw: of each few the one with the longest queue."""
    step = -(-len(readings) // _MOST_POINTS)
    groups = [readings[at : at + step] for at in range(0, len(readings), step)]
    return [max(group, key=lambda reading: reading.waiting) for group in groups]
