"""Names with versions: who gets which, and what a caller sees when a new one cannot answer."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cluster.traffic import Side, Split
from router.estimate import Judge
from router.judge_file import load, save
from router.query import Query
from router.splits import Splits
from tests.fakes.judges import shipped, weights
from tests.fakes.scripted_engine import CLOSE, RESET, Step
from tests.fakes.version_stack import BASE, FIRST, SECOND, refuses, version_stack, whole
from tests.integration.test_router_http import until

HARD = "Prove step by step that the square root of 2 is irrational, and explain why each step follows."
BOTH = (FIRST.served_name, SECOND.served_name)


def hotline(ratio: float = 0.5, stable: Side = FIRST, canary: Side | None = SECOND, shadow: float = 0.0) -> Split:
    return Split("hotline", stable, canary, ratio, shadow, "r1")


async def test_without_traffic_nothing_is_different() -> None:
    async with version_stack() as stack:
        answer = await stack.ask(model="small")
        unknown = await stack.ask(model="hotline")
        ready = (await stack.client.get("/readyz")).json()
    assert answer.status_code == 200
    assert "x-fenzhen-version" not in answer.headers
    assert unknown.status_code == 404
    assert "auto, small, large" in unknown.json()["error"]["message"]
    assert "traffic" not in ready
    assert stack.watching.heard == []


async def test_a_name_of_versions_is_a_model_with_its_base_as_parent() -> None:
    async with version_stack() as stack:
        stack.direct(hotline())
        cards = (await stack.client.get("/v1/models")).json()["data"]
        one = (await stack.client.get("/v1/models/hotline")).json()
        unknown = await stack.ask(model="nobody")
        pinned = await stack.ask(model="nobody", headers={"x-fenzhen-version": "canary"})
        served_name = await stack.ask(model=FIRST.served_name)
        stack.direct()
        gone = await stack.ask(model="hotline")
    assert [card["id"] for card in cards] == ["auto", "small", "large", "hotline"]
    assert (one["parent"], one["root"]) == ("small", "small")
    assert "parent" not in cards[1]
    assert "auto, small, large, hotline" in unknown.json()["error"]["message"]
    assert (unknown.status_code, pinned.status_code, served_name.status_code, gone.status_code) == (404, 404, 404, 404)


@pytest.mark.parametrize("ratio", [0.05, 0.25, 0.5])
async def test_users_are_split_by_weight_and_stay_where_they_were_drawn(ratio: float) -> None:
    expected = Splits()
    async with version_stack() as stack:
        stack.carry(*BOTH)
        stack.direct(hotline(ratio))
        first = [await stack.served("hello", user=f"user {number}") for number in range(200)]
        again = [await stack.served(f"question {number}", user=f"user {number}") for number in range(200)]
        assert stack.traffic is not None
        expected.update(stack.traffic)
        page = (await stack.client.get("/metrics")).text
    assert first == again
    count = Counter(first)[SECOND.served_name]
    # Four standard deviations.
    assert count / 200 == pytest.approx(ratio, abs=4 * (ratio * (1 - ratio) / 200) ** 0.5)
    assert f'fenzhen_router_side_requests_total{{model="hotline",side="canary"}} {2 * count:.1f}' in page
    assert 'fenzhen_requests_total{model="hotline",status="200"} 400.0' in page
    assert "fenzhen_router_traffic_generation 1.0" in page


async def test_a_conversation_stays_on_its_side_through_all_its_turns() -> None:
    async with version_stack() as stack:
        stack.carry(*BOTH)
        stack.direct(hotline())
        sides = set()
        for number in range(20):
            messages = [{"role": "user", "content": f"I have question number {number}."}]
            seen = []
            for turn in range(3):
                answer = await stack.client.post(
                    "/v1/chat/completions", json={"model": "hotline", "messages": messages}
                )
                seen.append(answer.headers["x-fenzhen-version"])
                messages += [{"role": "assistant", "content": "Yes?"}, {"role": "user", "content": f"More {turn}."}]
            assert len(set(seen)) == 1
            sides.add(seen[0])
    assert sides == {"1", "2"}


@pytest.mark.parametrize("field", ["user", "safety_identifier", "prompt_cache_key"])
async def test_each_field_that_names_somebody_decides_and_reaches_the_engine(field: str) -> None:
    async with version_stack() as stack:
        stack.carry(*BOTH)
        stack.direct(hotline())
        people = {}
        for number in range(12):
            person = {field: f"person-{number}"}
            seen = {
                await stack.served(words, "hotline", **person) for words in ("one thing", "another thing", "a third")
            }
            assert len(seen) == 1
            people[number] = seen.pop()
    assert set(people.values()) == set(BOTH)
    assert all(field in asked for asked in stack.wills.asked)


async def test_the_body_stays_byte_for_byte_but_for_the_name() -> None:
    raw = '{ "model" : "hotline","messages":[{"role":"user","content":"\\u4f60好"}], "top_k": 1.50 }'.encode()
    tools = raw.replace(b'"top_k"', b'"tools":[],"top_k"')
    async with version_stack() as stack:
        stack.carry(*BOTH)
        stack.direct(hotline(0))
        for sent in (raw, tools):
            answer = await stack.client.post("/v1/chat/completions", content=sent)
            assert answer.status_code == 200
        got = [request.body for requests in stack.engines[0].requests for request in requests]
    name = FIRST.served_name.encode()
    assert got[0] == raw.replace(b'"hotline"', b'"%b"' % name)
    assert json.loads(got[1]) == json.loads(tools) | {"model": FIRST.served_name}


async def test_an_adapters_requests_go_only_where_it_is_loaded() -> None:
    async with version_stack(engines=3) as stack:
        stack.carry(FIRST.served_name, engine=2)
        stack.direct(hotline(canary=None))
        for number in range(12):
            await stack.served(f"question {number}")
        counts = [sum(len(requests) for requests in engine.requests) for engine in stack.engines[:3]]
        assert counts == [0, 0, 12]
        stack.carry(FIRST.served_name)
        for number in range(30):
            await stack.served(f"question {number}")
        counts = [sum(len(requests) for requests in engine.requests) for engine in stack.engines[:3]]
    assert all(counts)


async def test_a_version_that_is_loaded_nowhere_is_a_503_and_is_asked_for() -> None:
    async with version_stack() as stack:
        stack.direct(hotline(canary=None))
        cold = await stack.ask()
        ready = (await stack.client.get("/readyz")).json()
        assert stack.watching.demand == {FIRST.served_name: 1}
        stack.carry(FIRST.served_name)
        assert await stack.served() == FIRST.served_name
    assert (cold.status_code, cold.headers["retry-after"]) == (503, "2")
    assert "Version 1 of hotline is not loaded now" in cold.json()["error"]["message"]
    assert (cold.headers["x-fenzhen-model"], cold.headers["x-fenzhen-version"]) == ("hotline", "1")
    assert ready["traffic"] == {
        "generation": 1,
        "not_ready": ["hotline version 1: starting: no engine has this version loaded"],
    }
    assert stack.watching.demand == {FIRST.served_name: 2}


@pytest.mark.parametrize(
    "will",
    [
        refuses(500), refuses(503), refuses(404), refuses(400),
        lambda asked: [RESET], lambda asked: [CLOSE], lambda asked: [b"nonsense\r\n\r\n"],
    ],
    ids=["500", "503", "404", "400", "reset", "closed", "no HTTP"],
)  # fmt: skip
@pytest.mark.parametrize("engines", [1, 2])
async def test_a_canary_that_cannot_answer_costs_the_caller_nothing(will: object, engines: int) -> None:
    # A canary with engines of its own, as another model has: its breakers are no concern of stable's.
    canary = Side(2, "large", "large")
    async with version_stack(engines=engines) as stack:
        stack.wills.by_name["large"] = will  # type: ignore[assignment]
        stack.direct(Split("small", BASE, canary, 0.5, 0.0, "r1"))
        for number in range(40):
            answer = await stack.ask(model="small", user=f"user {number}")
            assert (answer.status_code, answer.json()["model"]) == (200, "small")
            assert answer.headers["x-fenzhen-version"] == "0"
        page = (await stack.client.get("/metrics")).text
    fell = [heard for heard in stack.watching.heard if heard[0].endswith("canary")]
    assert 8 <= len(fell) <= 32
    assert all(heard == ["small 2 canary", "error", "small 0 stable", "200"] for heard in fell)
    assert f'fenzhen_router_canary_fallbacks_total{{model="small"}} {len(fell):.1f}' in page


async def test_an_adapter_that_always_fails_takes_no_endpoint_from_stable() -> None:
    async with version_stack(engines=2) as stack:
        stack.carry(*BOTH)
        stack.wills.by_name[SECOND.served_name] = refuses(500)
        stack.direct(hotline(1.0))
        for number in range(30):
            assert await stack.served(user=f"user {number}") == FIRST.served_name
        assert all(slot.usable_from_s == 0 and not slot.bad_answers for slot in stack.router.pools.of("small").slots)


async def test_a_spent_budget_of_retries_takes_no_request_from_a_rollout() -> None:
    async with version_stack(engines=2, max_in_flight=1) as stack:
        stack.carry(*BOTH)
        stack.wills.by_name[SECOND.served_name] = refuses(500)
        stack.direct(hotline(1.0))
        # One retry at once, and a fifth of one for each request.
        for _ in range(20):
            assert await stack.served() == FIRST.served_name


async def test_a_canary_that_is_loaded_nowhere_or_away_leaves_its_requests_to_stable() -> None:
    async with version_stack() as stack:
        stack.carry(FIRST.served_name)
        stack.direct(hotline(1.0))
        assert await stack.served() == FIRST.served_name
        assert stack.watching.heard == [["hotline 2 canary", "error", "hotline 1 stable", "200"]]
        assert stack.watching.demand == {FIRST.served_name: 1, SECOND.served_name: 1}


async def test_a_canary_that_fails_on_one_endpoint_is_tried_on_its_others_first() -> None:
    async with version_stack(engines=2) as stack:
        stack.carry(*BOTH)
        stack.direct(hotline(1.0))
        answers = iter([refuses(500)])

        def first_fails(asked: dict[str, Any]) -> list[Step]:
            will = next(answers, None)
            return [whole(200, {"model": asked["model"]})] if will is None else will(asked)

        stack.wills.by_name[SECOND.served_name] = first_fails
        assert await stack.served() == SECOND.served_name
        counts = [sum(len(requests) for requests in engine.requests) for engine in stack.engines[:2]]
    assert counts == [1, 1]
    assert stack.watching.heard == [["hotline 2 canary", "error", "hotline 2 canary", "200"]]


async def test_what_a_canary_refuses_is_stables_to_say_and_no_engines_failure() -> None:
    async with version_stack(engines=2) as stack:
        stack.carry(*BOTH)
        stack.wills.by_name[SECOND.served_name] = refuses(400)
        stack.direct(hotline(1.0))
        assert await stack.served() == FIRST.served_name
        assert len(stack.wills.asked) == 2
        # The caller's own mistake.
        stack.wills.by_name[FIRST.served_name] = refuses(422)
        assert (await stack.ask()).status_code == 422
        page = (await stack.client.get("/metrics")).text
    assert 'fenzhen_engine_failures_total{model="hotline"} 0.0' in page
    assert 'fenzhen_retries_total{model="hotline"} 0.0' in page


async def test_an_adapter_that_its_engine_has_just_unloaded_is_found_on_another() -> None:
    async with version_stack(engines=2) as stack:
        stack.carry(FIRST.served_name)
        answers = iter([refuses(404)])

        def first_has_lost_it(asked: dict[str, Any]) -> list[Step]:
            will = next(answers, None)
            return [whole(200, {"model": asked["model"]})] if will is None else will(asked)

        stack.wills.by_name[FIRST.served_name] = first_has_lost_it
        stack.direct(hotline(canary=None))
        assert await stack.served() == FIRST.served_name
        assert len(stack.wills.asked) == 2


async def test_a_canary_that_is_silent_is_given_up_and_stable_has_all_its_time() -> None:
    async with version_stack(first_byte_timeout_s=1) as stack:
        stack.carry(*BOTH)
        stack.wills.by_name[SECOND.served_name] = lambda asked: [60.0]
        stack.wills.by_name[FIRST.served_name] = lambda asked: [0.7, whole(200, {"model": asked["model"]})]
        stack.direct(hotline(1.0))
        assert await stack.served() == FIRST.served_name
        stack.wills.by_name[FIRST.served_name] = lambda asked: [60.0]
        late = await stack.ask()
    assert stack.watching.heard[0] == ["hotline 2 canary", "timeout", "hotline 1 stable", "200"]
    assert late.status_code == 504
    assert stack.watching.heard[1] == ["hotline 2 canary", "timeout", "hotline 1 stable", "504"]


async def test_a_canary_that_breaks_off_in_the_middle_is_told_in_the_stream() -> None:
    begun = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    event = b'data: {"x":1}\n\n'
    async with version_stack() as stack:
        stack.carry(*BOTH)
        stack.wills.by_name[SECOND.served_name] = lambda asked: [
            begun + b"%x\r\n%b\r\n" % (len(event), event), 0.05, RESET,
        ]  # fmt: skip
        stack.direct(hotline(1.0))
        answer = await stack.ask(stream=True)
    assert answer.status_code == 200
    assert answer.text.startswith('data: {"x":1}\n\ndata: {"error"')
    assert stack.watching.heard == [["hotline 2 canary", "200"]]


async def test_a_canary_that_falls_silent_in_the_middle_has_timed_out() -> None:
    begun = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    async with version_stack(stall_timeout_s=0.3) as stack:
        stack.carry(*BOTH)
        stack.wills.by_name[SECOND.served_name] = lambda asked: [begun + b"a\r\ndata: {}\n\n\r\n", 60.0]
        stack.direct(hotline(1.0))
        answer = await stack.ask(stream=True)
    assert "fell silent" in answer.text
    assert stack.watching.heard == [["hotline 2 canary", "200", "timeout"]]


async def test_stable_is_not_saved_by_the_canary() -> None:
    async with version_stack() as stack:
        stack.carry(*BOTH)
        stack.wills.by_name[FIRST.served_name] = refuses(500)
        stack.direct(hotline(0.0))
        answer = await stack.ask()
    assert answer.status_code == 503
    assert SECOND.served_name not in {asked["model"] for asked in stack.wills.asked}


async def test_a_caller_may_name_a_version_and_gets_no_other() -> None:
    async with version_stack() as stack:
        stack.carry(*BOTH)
        stack.direct(hotline(0.0))
        for word, name in (("canary", SECOND), ("2", SECOND), ("stable", FIRST), ("1", FIRST)):
            answer = await stack.ask(headers={"x-fenzhen-version": word})
            assert (answer.json()["model"], answer.headers["x-fenzhen-version"]) == (
                name.served_name,
                str(name.version),
            )
        wrong = await stack.ask(headers={"x-fenzhen-version": "7"})
        bare = await stack.ask(model="small", headers={"x-fenzhen-version": "canary"})
        plain = await stack.ask(model="small", headers={"x-fenzhen-version": "stable"})
        stack.wills.by_name[SECOND.served_name] = refuses(500)
        broken = await stack.ask(headers={"x-fenzhen-version": "canary"})
        stack.wills.by_name[SECOND.served_name] = refuses(400)
        refused = await stack.ask(headers={"x-fenzhen-version": "canary"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "x-fenzhen-version")
    assert "stable (1) and canary (2)" in wrong.json()["error"]["message"]
    assert (bare.status_code, plain.status_code) == (400, 200)
    assert broken.status_code == 503
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, "told to")
    assert all(not heard or heard == ["200"] for heard in stack.watching.heard)


async def test_a_prompt_stands_before_the_callers_own_and_both_are_kept() -> None:
    prompt = Side(1, "small", "small", prompt="You answer for the city of 宜昌.")
    system = {"role": "system", "content": "Be brief."}
    parts: dict[str, Any] = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    question = {"role": "user", "content": "hi"}
    async with version_stack() as stack:
        stack.direct(Split("desk", prompt))
        for messages in ([question], [system, question], [parts, question], [question, system]):
            answer = await stack.client.post("/v1/chat/completions", json={"model": "desk", "messages": messages})
            assert (answer.status_code, answer.headers["x-fenzhen-version"]) == (200, "1")
        completion = await stack.client.post("/v1/completions", json={"model": "desk", "prompt": "Once"})
        plain = await stack.ask(model="small")
    said = [asked["messages"] for asked in stack.wills.asked[:4]]
    ours = "You answer for the city of 宜昌."
    assert said[0] == [{"role": "system", "content": ours}, question]
    assert said[1] == [{"role": "system", "content": f"{ours}\n\nBe brief."}, question]
    assert said[2][0]["content"] == [{"type": "text", "text": f"{ours}\n\n"}, *parts["content"]]
    assert said[3] == [{"role": "system", "content": ours}, question, system]
    assert (completion.status_code, plain.status_code) == (200, 200)
    assert stack.wills.asked[4] == {"model": "small", "prompt": "Once"}
    assert stack.wills.asked[5]["messages"] == [question]


async def test_auto_that_chooses_a_model_is_subject_to_its_split() -> None:
    adapter = Side(5, "small", "small@5-eeeeeeee")
    async with version_stack() as stack:
        stack.carry(adapter.served_name)
        stack.direct(Split("small", BASE, adapter, 0.5, 0.0, "r1"))
        seen = {}
        for number in range(20):
            answer = await stack.ask("hi", "auto", user=f"user {number}")
            assert answer.headers["x-fenzhen-model"] == "small"
            seen[number] = (answer.json()["model"], answer.headers["x-fenzhen-version"])
        again = [(await stack.ask("hi", "small", user=f"user {number}")).json()["model"] for number in range(20)]
        large = await stack.ask(HARD, "auto")
    assert set(seen.values()) == {("small", "0"), ("small@5-eeeeeeee", "5")}
    # Asked by its name or chosen, a user gets the same version.
    assert again == [name for name, _ in seen.values()]
    assert large.json()["model"] == "large"
    assert "x-fenzhen-version" not in large.headers


async def test_auto_turns_to_another_model_while_a_models_stable_version_is_cold() -> None:
    adapter = Side(5, "small", "small@5-eeeeeeee")
    async with version_stack() as stack:
        stack.direct(Split("small", adapter))
        answer = await stack.ask("hi", "auto")
        assert (answer.status_code, answer.headers["x-fenzhen-model"]) == (200, "large")
        assert stack.watching.demand[adapter.served_name] >= 1


async def test_auto_falls_back_to_stable_on_the_same_engine_and_not_to_another_model() -> None:
    adapter = Side(5, "small", "small@5-eeeeeeee")
    async with version_stack() as stack:
        stack.carry(adapter.served_name)
        stack.wills.by_name[adapter.served_name] = refuses(500)
        stack.direct(Split("small", BASE, adapter, 1.0, 0.0, "r1"))
        answer = await stack.ask("hi", "auto")
    assert (answer.status_code, answer.json()["model"]) == (200, "small")


async def test_a_split_changes_between_two_requests_and_a_stream_ends_where_it_began() -> None:
    begun = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    event = b"data: {}\n\n"
    piece = b"%x\r\n%b\r\n" % (len(event), event)
    more: list[Step] = [0.1, piece] * 5
    go_on = asyncio.Event()

    def slowly(asked: dict[str, Any]) -> list[Step]:
        return [begun + piece, *more, b"0\r\n\r\n"]

    async with version_stack() as stack:
        stack.carry(*BOTH)
        stack.wills.by_name[SECOND.served_name] = slowly
        stack.direct(hotline(1.0))
        body = {"model": "hotline", "messages": [{"role": "user", "content": "hi"}], "stream": True}

        async def streamed() -> tuple[str, str]:
            async with stack.client.stream("POST", "/v1/chat/completions", json=body) as answer:
                text = ""
                async for part in answer.aiter_text():
                    text += part
                    go_on.set()
                return answer.headers["x-fenzhen-version"], text

        stream = asyncio.create_task(streamed())
        await asyncio.wait_for(go_on.wait(), 5)
        # Rolled back, and unloaded.
        stack.direct(hotline(canary=None))
        stack.carry(FIRST.served_name)
        assert await stack.served() == FIRST.served_name
        assert stack.router.pools.of("small").in_flight == 1
        assert not stream.done()
        assert await asyncio.wait_for(stream, 5) == ("2", "data: {}\n\n" * 6)


async def test_a_retry_after_a_rollback_goes_to_what_is_in_force_then() -> None:
    async with version_stack() as stack:
        stack.carry(*BOTH)
        stack.wills.by_name[SECOND.served_name] = lambda asked: [0.3, *refuses(500)(asked)]
        stack.direct(hotline(1.0))
        waiting = asyncio.create_task(stack.served())
        await until(lambda: stack.router.in_flight == 1, 2)
        stack.direct(hotline(canary=None, stable=BASE))
        assert await waiting == "small"


async def test_a_table_without_traffic_and_an_older_one_leave_what_is_in_force() -> None:
    async with version_stack() as stack:
        stack.carry(*BOTH)
        stack.direct(hotline(0.0))
        stack.direct(hotline(1.0))
        kept, stack.traffic = stack.traffic, None
        stack.publish()
        assert await stack.served() == SECOND.served_name
        assert kept is not None
        stack.traffic = None
        stack.direct(hotline(0.0))
        assert await stack.served() == SECOND.served_name


async def test_a_split_over_a_model_without_a_pool_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with version_stack() as stack:
        stack.direct(
            Split("old", Side(1, "huge", "huge")), Split("small", BASE, Side(2, "huge", "huge"), 1.0, 0.0, "r1")
        )
        assert (await stack.ask(model="old")).status_code == 404
        assert await stack.served(model="small") == "small"
    assert caplog.text.count("has no pool here") == 2


async def test_a_caller_who_leaves_is_told_to_whoever_watches() -> None:
    async with version_stack() as stack:
        stack.carry(*BOTH)
        stack.wills.by_name[SECOND.served_name] = lambda asked: [5.0]
        stack.direct(hotline(1.0))
        asking = asyncio.create_task(stack.ask())
        await until(lambda: len(stack.wills.asked) == 1, 2)
        asking.cancel()
        await until(lambda: stack.router.in_flight == 0, 2)
    assert stack.watching.heard == [["hotline 2 canary", "gone"]]


async def test_embeddings_and_bodies_without_a_conversation_are_drawn_too() -> None:
    async with version_stack() as stack:
        stack.carry(*BOTH)
        stack.direct(hotline(0.5))
        for prompt in ([1, 2, 3], "Once upon a time"):
            seen = set()
            for _ in range(40):
                body = {"model": "hotline", "prompt": prompt}
                answer = await stack.client.post("/v1/completions", json=body)
                assert answer.status_code == 200
                seen.add(answer.json()["model"])
            # Tokens tell of nobody; a text is its own conversation.
            assert len(seen) == (2 if isinstance(prompt, list) else 1)


async def test_a_new_judge_reads_the_questions_of_its_share_and_stables_reads_the_others(tmp_path: Path) -> None:
    path = tmp_path / "new.judge"
    save(weights(1), path)
    new, shipped_one = Judge(load(path)), shipped()
    words = "Which documents does a residence permit need in 2026?"
    split = Split("auto", Side(0, "", ""), Side(1, "", "", judge=str(path)), 0.5, 0.0, "r1")

    def difficulty(judge: Judge) -> str:
        return f"{judge.estimate(Query(words, 0, 1)).difficulty:.3f}"

    async with version_stack() as stack:
        stack.direct(split)
        waiting = [await stack.ask(words, "auto", user=f"user {number}") for number in range(12)]
        ready = (await stack.client.get("/readyz")).json()
        pinned = await stack.ask(words, "auto", headers={"x-fenzhen-version": "1"})
        stack.router.have({str(path): new})
        answers = [await stack.ask(words, "auto", user=f"user {number}") for number in range(12)]
        again = [await stack.ask(words, "auto", user=f"user {number}") for number in range(12)]
        # Taken apart, as bodies with tools are.
        apart = [await stack.ask(words, "auto", user=f"user {number}", stop="\n") for number in range(12)]
        by_hand = await stack.ask(words, "auto", headers={"x-fenzhen-version": "canary"})
        named = await stack.ask(words, "small")
    assert {answer.headers["x-fenzhen-judge-version"] for answer in waiting} == {"0"}
    assert ready["traffic"]["not_ready"] == ["auto version 1: its judge is not loaded"]
    assert (pinned.status_code, pinned.headers["retry-after"]) == (503, "2")
    versions = [answer.headers["x-fenzhen-judge-version"] for answer in answers]
    assert set(versions) == {"0", "1"}
    assert versions == [answer.headers["x-fenzhen-judge-version"] for answer in again]
    assert versions == [answer.headers["x-fenzhen-judge-version"] for answer in apart]
    assert difficulty(new) != difficulty(shipped_one)
    for answer in [*answers, *apart]:
        judge = new if answer.headers["x-fenzhen-judge-version"] == "1" else shipped_one
        assert answer.headers["x-fenzhen-difficulty"] == difficulty(judge)
        assert "x-fenzhen-version" not in answer.headers
    assert by_hand.headers["x-fenzhen-judge-version"] == "1"
    assert "x-fenzhen-judge-version" not in named.headers


async def test_a_judge_that_is_stable_now_reads_all_questions_and_is_kept_when_another_is_adopted(
    tmp_path: Path,
) -> None:
    path = tmp_path / "new.judge"
    save(weights(1), path)
    new = Judge(load(path))
    async with version_stack() as stack:
        stack.direct(Split("auto", Side(1, "", "", judge=str(path))))
        stack.router.have({str(path): new})
        stack.router.use(Judge(weights(2)))
        answer = await stack.ask("What is a residence permit?", "auto")
        assert answer.headers["x-fenzhen-judge-version"] == "1"
        assert stack.router._answerer._chats.judge is new
        stack.direct()
        await stack.ask("What is a residence permit?", "auto")
        assert stack.router._answerer._chats.judge is not new


async def test_a_rollout_of_a_judge_and_one_of_a_model_are_both_told(tmp_path: Path) -> None:
    async with version_stack() as stack:
        stack.carry("small@5-eeeeeeee")
        stack.router.have({"new": Judge(weights(1))})
        stack.direct(
            Split("auto", Side(0, "", ""), Side(1, "", "", judge="new"), 0.0, 0.0, "r1"),
            Split("small", BASE, Side(5, "small", "small@5-eeeeeeee"), 1.0, 0.0, "r2"),
        )
        answer = await stack.ask("hi", "auto")
    assert answer.headers["x-fenzhen-judge-version"] == "0"
    assert answer.headers["x-fenzhen-version"] == "5"
    assert stack.watching.heard == [["auto 0 stable", "small 5 canary", "200"]]
