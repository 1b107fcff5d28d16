from serving.probe import in_flight

METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="small"} 2.0
vllm:num_requests_waiting{engine="0",model_name="small"} 3.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 3.0
"""


def test_requests_in_flight_are_those_running_and_those_waiting() -> None:
    assert in_flight(METRICS) == 5


def test_metrics_without_the_gauges_say_nothing() -> None:
    assert in_flight("process_cpu_seconds_total 1.0\n") is None
