"""Alerts roll versions back: the webhook by itself, and behind a real Alertmanager."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.errors import UserError
from cluster.release_settings import Rollouts
from registry.database import Database
from registry.rollout_metrics import RolloutMetrics
from registry.rollout_states import Canary, RolledBack
from registry.rollout_store import RolloutStore
from registry.webhook import MAX_BODY_BYTES, alert_token, serve, webhook
from tests.fakes.alertmanager import Alertmanager
from tests.fakes.rollouts import NAME, STARTED, rollout

TOKEN = "a-token-of-thirty-two-characters"


@dataclass
class Desk:
    """A running webhook with its store."""

    store: RolloutStore
    url: str
    metrics: RolloutMetrics

    async def post(self, body: object, token: str = TOKEN) -> httpx.Response:
        """Post as Alertmanager does."""
        async with httpx.AsyncClient(timeout=10) as client:
            headers = {"authorization": f"Bearer {token}"} if token else {}
            if isinstance(body, bytes):
                return await client.post(self.url, content=body, headers=headers)
            return await client.post(self.url, json=body, headers=headers)

    def orders(self) -> list[tuple[str, str]]:
        """Those that wait for the controller."""
        return [(each.verb, each.by) for orders in self.store.snapshot().orders.values() for each in orders]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = RolloutStore(Database(f"sqlite:///{tmp_path / 'rollouts.db'}"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    metrics = RolloutMetrics()
    task = asyncio.create_task(serve(webhook(store, TOKEN, metrics.page), port))
    async with httpx.AsyncClient() as client, asyncio.timeout(10):
        while True:
            try:
                await client.get(f"http://127.0.0.1:{port}/metrics")
                break
            except httpx.ConnectError:
                await asyncio.sleep(0.02)
    yield Desk(store, f"http://127.0.0.1:{port}/v1/alerts", metrics)
    task.cancel()
    await asyncio.wait({task})
    store.close()


def notification(*alerts: dict[str, Any]) -> dict[str, Any]:
    """As documented for version 4."""
    return {
        "version": "4",
        "groupKey": '{}:{alertname="TooManyErrors"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "fenzhen",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": list(alerts),
    }


def alert(name: str | None = NAME, status: str = "firing", fingerprint: str = "f1") -> dict[str, Any]:
    labels = {"alertname": "TooManyErrors"} | ({} if name is None else {"fenzhen_name": name})
    return {
        "status": status,
        "labels": labels,
        "annotations": {"summary": "Many answers are errors."},
        "startsAt": "2026-05-01T10:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus:9090",
        "fingerprint": fingerprint,
    }


async def test_a_firing_alert_orders_one_rollback_however_often_it_comes(desk: Desk) -> None:
    desk.store.start(rollout(Canary(0.0, 1)), STARTED)
    answers = await asyncio.gather(*(desk.post(notification(alert(), alert())) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert desk.orders() == [("roll_back", "alert TooManyErrors")]
    noted = [entry.note for entry in desk.store.history() if entry.note.event == "alert"]
    assert [(each.by, each.said) for each in noted] == [
        ("alert TooManyErrors", "version 2 is to be rolled back from canary 2/3")
    ]


async def test_an_alert_that_goes_on_firing_spares_the_next_version(desk: Desk) -> None:
    desk.store.start(rollout(Canary(0.0, 1)), STARTED)
    await desk.post(notification(alert()))
    lease = desk.store.acquire("a", 30)
    assert lease is not None
    desk.store.advance(lease, rollout(RolledBack(1.0, "", "")), None, STARTED)
    desk.store.start(rollout(Canary(0.0, 0), rollout_id="r2"), STARTED)
    answer = await desk.post(notification(alert()))
    assert "already" in answer.json()["alerts"][0]["said"]
    assert desk.orders() == []
    await desk.post(notification(alert(fingerprint="f2")))
    assert desk.orders() == [("roll_back", "alert TooManyErrors")], "another alert counts"


@pytest.mark.parametrize("harmless", [alert(status="resolved"), alert(name=None)])
async def test_what_is_resolved_or_names_nothing_changes_nothing(desk: Desk, harmless: dict[str, Any]) -> None:
    desk.store.start(rollout(Canary(0.0, 1)), STARTED)
    before = desk.store.history()
    assert (await desk.post(notification(harmless))).status_code == 200
    assert (desk.orders(), desk.store.history()) == ([], before)


async def test_an_unknown_name_is_said_and_the_others_are_obeyed(desk: Desk) -> None:
    desk.store.start(rollout(Canary(0.0, 1)), STARTED)
    answer = await desk.post(notification(alert(name="nobody"), alert()))
    assert answer.status_code == 404
    assert "nobody" in answer.json()["error"]["message"]
    assert desk.orders() == [("roll_back", "alert TooManyErrors")]


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x"])
async def test_without_the_token_nothing_is_read(desk: Desk, token: str) -> None:
    desk.store.start(rollout(Canary(0.0, 1)), STARTED)
    assert (await desk.post(notification(alert()), token)).status_code == 401
    assert desk.orders() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"version": "3", "alerts": []}', 400),
        (b'{"version": "4", "alerts": [{"status": "sleeping"}]}', 400),
        (b" " * (MAX_BODY_BYTES + 1), 413),
    ],
)
async def test_what_is_no_notification_is_refused_with_a_sentence(desk: Desk, body: bytes, status: int) -> None:
    answer = await desk.post(body)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


async def test_prometheus_reads_how_rollouts_fare(desk: Desk) -> None:
    desk.metrics.rollouts = (rollout(Canary(0.0, 1)),)
    async with httpx.AsyncClient() as client:
        page = (await client.get(desk.url.replace("v1/alerts", "metrics"))).text
    assert 'fenzhen_rollout_canary_ratio{name="hotline"} 0.25' in page
    assert 'fenzhen_rollout_state{name="hotline",state="canary"} 1.0' in page


async def test_a_real_alertmanager_rolls_a_version_back(desk: Desk, tmp_path: Path) -> None:
    desk.store.start(rollout(Canary(0.0, 1)), STARTED)
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN + "\n", encoding="utf-8")
    with Alertmanager(tmp_path / "alertmanager", desk.url, token_file) as manager:
        labels = {"alertname": "TooManyErrors", "fenzhen_name": NAME, "severity": "page"}
        await asyncio.to_thread(manager.alert, labels)
        async with asyncio.timeout(15):
            while not desk.orders():
                await asyncio.sleep(0.05)
        # It repeats its notification every second.
        await asyncio.sleep(2.5)
        assert desk.orders() == [("roll_back", "alert TooManyErrors")]
        await asyncio.to_thread(manager.alert, labels, is_firing=False)
        await asyncio.sleep(1.5)
        assert len([entry for entry in desk.store.history() if entry.note.event == "alert"]) == 1


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN, encoding="utf-8")
    path.chmod(0o640)
    settings = Rollouts(alert_port=9000, alert_token_file=path)
    with pytest.raises(UserError, match="chmod 600"):
        alert_token(settings, {})
    path.chmod(0o600)
    assert alert_token(settings, {}) == TOKEN
    assert alert_token(settings, {"FENZHEN_ALERT_TOKEN": "x" * 32}) == "x" * 32
    for wrong in (settings.model_copy(update={"alert_token_file": None}), settings):
        path.write_text("short", encoding="utf-8")
        with pytest.raises(UserError):
            alert_token(wrong, {})
