"""The report of one run for people: the verdict, then what happened, when, to whom, and with what it was measured.

One file that asks nothing of any other: it can be mailed, printed and kept. What servers said is not trusted: jinja2
escapes it, and the page forbids itself every script. The same run makes the same bytes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from loadtests.judging.agreement import last_measured
from loadtests.judging.columns import Columns
from loadtests.judging.fault_effects import effects_of
from loadtests.judging.generator_limits import LAG_LIMIT_S, generator_limits
from loadtests.judging.slices import counted_stages, slices_from, whole_from
from loadtests.judging.slo import verdict_from
from loadtests.judging.windows import width_s_of, windows_from
from loadtests.page import words
from loadtests.page.tables import (
    engine_rows,
    error_rows,
    plan_text,
    quality_rows,
    router_rows,
    share_rows,
    slice_row,
    slice_tables,
)
from loadtests.page.verdict import tiles_of, verdict_of, warnings_of
from loadtests.records.run import Run
from loadtests.records.run_folder import RunFolder
from registry.disk import write_durably

if TYPE_CHECKING:
    from loadtests.search.report import SearchReport

_FOLDER: Final = Path(__file__).parent
_WINDOW_REQUESTS: Final = 50
_MOST_WINDOWS: Final = 150
_FEWEST_WINDOWS: Final = 20


def write_page(folder: RunFolder, run: Run, document: dict[str, Any]) -> None:
    """Write the page of a run into its folder, whole or not at all."""
    write_durably(folder.page, page_of(run, document))


def page_of(run: Run, document: dict[str, Any], search: "SearchReport | None" = None) -> str:
    """The page's HTML. `search`: what this run was a part of."""
    # Imported late: matplotlib takes half a second, and a test that begins must not wait for it.
    from loadtests.page.distribution_charts import duration_charts, lag_chart
    from loadtests.page.engine_chart import engine_chart
    from loadtests.page.load_charts import load_charts
    from loadtests.page.time_chart import end_of, time_chart

    everything = Columns.of(run.samples)
    columns = everything.where(everything.in_stages(counted_stages(run.plan)))
    whole, slices = whole_from(run, columns), slices_from(run, columns)
    slo, limits = run.plan.slo, generator_limits(columns, run.ticks)
    agreement = last_measured()
    width_s = window_s_of(run)
    windows = windows_from(everything, width_s, slo)
    return rendered(
        "page.html",
        run=run,
        search=search,
        banner=verdict_of(verdict_from(columns, slo), slo),
        warnings=warnings_of(run, limits),
        tiles=tiles_of(run, whole),
        whole=slice_row("全部 all", whole),
        tables=slice_tables(slices),
        errors=error_rows(whole),
        shares=share_rows(whole, slices),
        quality=quality_rows(whole, slices),
        effects=effects_of(run, everything),
        engines=engine_rows(run),
        settings=plan_text(run.plan),
        time_chart=time_chart(run, windows),
        duration_charts=duration_charts(run, columns),
        load_charts=load_charts(run.plan, windows_from(columns, width_s, slo), slices["stage"]),
        engine_chart=engine_chart(run, end_of(run, windows)) if windows else None,
        lag_chart=lag_chart(columns, LAG_LIMIT_S),
        definitions=words.DEFINITIONS,
        limits=limits,
        agreement=agreement.sentence if agreement is not None else words.NOT_MEASURED,
        is_open=any(stage.arrivals is not None for stage in run.plan.stages),
        router=router_rows(document.get("router", {})),
    )


def window_s_of(run: Run) -> float:
    """Width of the windows, seconds: few enough to draw, and with requests enough for a percentile if there are any."""
    seconds = max(run.plan.seconds, run.ticks[-1].at_s if run.ticks else 0.0)
    wanted_s = _WINDOW_REQUESTS * seconds / max(len(run.samples), 1)
    return width_s_of(seconds, int(min(_MOST_WINDOWS, max(_FEWEST_WINDOWS, seconds / wanted_s))))


def rendered(template: str, **values: object) -> str:
    """One of our templates, filled in."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {
        "duration": words.duration, "number": words.number, "rate": words.rate, "percent": words.percent,
        "count": words.count, "moment": words.moment, "clock": words.clock,
    }  # fmt: skip
    return environment.get_template(template).render(**values)
