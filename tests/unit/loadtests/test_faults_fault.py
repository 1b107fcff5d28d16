"""The words for faults: what each means, and what is said to whoever mistypes one."""

import pytest

from cluster.errors import UserError
from loadtests.faults.fault import KINDS, Fault, parse_fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("kill-engine:small@30s", Fault("kill-engine", 30, target="small")),
        ("kill-engine:qwen2.5-0.5b@1m30s", Fault("kill-engine", 90, target="qwen2.5-0.5b")),
        ("kill-engine@0", Fault("kill-engine", 0)),
        (" kill-router@30s ", Fault("kill-router", 30)),
        ("kill-registry@500ms", Fault("kill-registry", 0.5)),
        ("slow-link=200ms@30s+20s", Fault("slow-link", 30, 20, delay_s=0.2)),
        ("slow-link=1s@30s", Fault("slow-link", 30, delay_s=1)),
        ("slow-link:127.0.0.1:9301=200ms@30s+20s", Fault("slow-link", 30, 20, "127.0.0.1:9301", 0.2)),
        ("fill-disk@30s+20s", Fault("fill-disk", 30, 20)),
        ("fill-disk@30s", Fault("fill-disk", 30)),
    ],
)
def test_a_fault_is_read(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


def test_a_link_is_known_by_its_port() -> None:
    assert parse_fault("slow-link:127.0.0.1:9301=200ms@30s").port == 9301
    assert parse_fault("slow-link=200ms@30s").port is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no fault"),
        ("kill-engine", "is no fault"),
        ("kill-engine@", "is no fault"),
        ("@30s", "is no fault"),
        ("kill-engine:@30s", "is no fault"),
        ("kill-engine@30s@40s", "is no fault"),
        ("kill-engine@30s+", "is no fault"),
        ("slow-link@30s=200ms", "is no fault"),
        ("kill-enigne:small@30s", "did you mean kill-engine?"),
        ("slow-lnik=200ms@3s", "did you mean slow-link?"),
        ("explode@30s", "there is no fault 'explode'"),
        ("kill-engine@30", "'30' is no duration; write 90s"),
        ("kill-engine@soon", "'soon' is no duration"),
        ("kill-engine@30s+5s", "comes back by itself"),
        ("kill-router:2@30s", ":TARGET does not go with kill-router"),
        ("fill-disk:/data@30s", ":TARGET does not go with fill-disk"),
        ("fill-disk=5s@30s", "=AMOUNT does not go with fill-disk"),
        ("fill-disk@30s+0", "+0 would take it back at once"),
        ("slow-link@30s", "needs a delay"),
        ("slow-link=0@30s", "needs a delay"),
        ("slow-link=5m@30s", "needs a delay of up to 60s"),
        ("slow-link=200@30s", "'200' is no duration"),
        ("slow-link:small=200ms@30s", "target is 127.0.0.1:PORT"),
        ("slow-link:127.0.0.1:0=200ms@30s", "target is 127.0.0.1:PORT"),
        ("slow-link:127.0.0.1:70000=200ms@30s", "target is 127.0.0.1:PORT"),
        ("slow-link:10.0.0.1:9301=200ms@30s", "target is 127.0.0.1:PORT"),
    ],
)
def test_a_mistake_is_answered_with_the_way_to_write_it(text: str, complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_fault(text)
    assert complaint in str(caught.value)
    assert "KIND[:TARGET][=AMOUNT]@AT[+FOR]" in str(caught.value)


def test_an_unknown_kind_is_told_all_that_there_are() -> None:
    with pytest.raises(UserError) as caught:
        parse_fault("unplug@30s")
    assert all(kind in str(caught.value) for kind in KINDS)
