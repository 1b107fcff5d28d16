import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from loadtests.engines_watch import EnginesWatch

PATIENCE_S = 30


class Engine:
    """Serves a page of metrics that the test writes."""

    def __init__(self) -> None:
        self.page = page(running=1, waiting=0, queued=0, hits=0)
        self.status = 200
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = engine.page.encode()
                self.send_response(engine.status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  The base class calls it so.
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def page(*, running: int, waiting: int, queued: int, hits: int) -> str:
    return f"""\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running {running}
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting {waiting}
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc 0.25
# TYPE vllm:prefix_cache_hits counter
vllm:prefix_cache_hits_total {hits}
# TYPE vllm:prefix_cache_queries counter
vllm:prefix_cache_queries_total {2 * hits}
# TYPE vllm:request_queue_time_seconds histogram
vllm:request_queue_time_seconds_bucket{{le="1.0"}} {queued}
vllm:request_queue_time_seconds_bucket{{le="+Inf"}} {queued}
vllm:request_queue_time_seconds_count {queued}
vllm:request_queue_time_seconds_sum {queued * 0.5}
# TYPE fenzhen_relieved counter
fenzhen_relieved_total{{from="small",to="large"}} {queued}
"""


@pytest.fixture
def engine() -> Iterator[Engine]:
    one = Engine()
    yield one
    one.stop()


def test_what_an_engine_counted_while_load_ran_is_told(engine: Engine) -> None:
    with EnginesWatch({engine.url: "small"}, engine.url) as watch:
        engine.page = page(running=4, waiting=2, queued=10, hits=64)
    seen = watch.seen()
    (totals,) = seen.totals
    assert (totals.model, totals.queue_count, totals.queue_sum_s) == ("small", 10, 5.0)
    assert totals.queue_p50_s == pytest.approx(0.5)
    assert (totals.prefix_hit_tokens, totals.prefix_asked_tokens) == (64, 128)
    assert seen.router == {'fenzhen_relieved_total{from="small",to="large"}': 10}
    assert seen.notes == ()


def test_readings_are_on_the_clock_of_the_run(engine: Engine) -> None:
    with EnginesWatch({engine.url: "small"}, None) as watch:
        watch.begin(time.time())
        engine.page = page(running=4, waiting=2, queued=1, hits=0)
    last = watch.seen().readings[-1]
    assert (last.running, last.waiting, last.kv_used_ratio) == (4, 2, 0.25)
    assert 0 <= last.at_s < PATIENCE_S
    assert last.engine.startswith("small 127.0.0.1:")


def test_an_engine_that_began_anew_is_not_told_by_half(engine: Engine) -> None:
    engine.page = page(running=1, waiting=0, queued=100, hits=10)
    with EnginesWatch({engine.url: "small"}, None) as watch:
        engine.page = page(running=1, waiting=0, queued=3, hits=1)
    (totals,) = watch.seen().totals
    assert totals.queue_count is None
    assert totals.prefix_hit_tokens is None


def test_an_engine_that_cannot_be_read_is_said(engine: Engine) -> None:
    engine.status = 404
    with EnginesWatch({engine.url: "small"}, None) as watch:
        pass
    seen = watch.seen()
    assert seen.totals == ()
    (note,) = seen.notes
    assert engine.url in note


def test_a_stand_in_that_could_not_keep_its_schedule_is_not_believed(engine: Engine) -> None:
    with EnginesWatch({engine.url: "small"}, None) as watch:
        engine.page += "# TYPE rehearsal:late_ratio gauge\nrehearsal:late_ratio 0.2\n"
    (note,) = watch.seen().notes
    assert "late in 20% of its steps" in note


def test_a_router_whose_counters_cannot_be_read_is_no_fault(engine: Engine) -> None:
    engine.page = "no page of metrics"
    with EnginesWatch({}, engine.url) as watch:
        pass
    assert watch.seen().router == {}
