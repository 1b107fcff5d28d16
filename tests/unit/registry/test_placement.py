"""Which engines carry which adapters."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.directory import Endpoint, State
from registry.placement import Wanted, placed


def engine(number: int, *adapters: str, room: int = 2, state: State = "ready", base: str = "small") -> Endpoint:
    name = f"{base}-{number}"
    return Endpoint(
        name, base, f"http://127.0.0.1:{9000 + number}", state, "", 0, None, None, 1, adapters, max_adapters=room
    )


def wanted(name: str, demand_per_s: float = 0.0, *, pinned: bool = False, last_used_s: float = 0.0) -> Wanted:
    return Wanted(name, "small", pinned, demand_per_s, last_used_s)


def loaded_as(places: dict[str, tuple[str, ...]], endpoints: list[Endpoint]) -> list[Endpoint]:
    """The engines after they have done what was decided."""
    return [
        replace(each, adapters=tuple(sorted(name for name, where in places.items() if each.endpoint_id in where)))
        for each in endpoints
    ]


def test_an_adapter_of_a_rollout_goes_onto_every_engine_of_its_base() -> None:
    engines = [engine(1), engine(2, state="restarting"), engine(3, base="large"), engine(4, room=0)]
    assert placed([wanted("a@1", pinned=True)], engines) == {"a@1": ("small-1", "small-2")}


def test_one_that_nobody_asks_for_still_has_an_engine_if_there_is_room() -> None:
    places = placed([wanted("a@1")], [engine(1), engine(2)])
    assert len(places["a@1"]) == 1


def test_a_busy_one_has_more_engines_than_a_quiet_one() -> None:
    engines = [engine(number) for number in range(4)]
    places = placed([wanted("busy", 3.5), wanted("quiet", 0.1)], engines)
    assert (len(places["busy"]), len(places["quiet"])) == (4, 1)


def test_where_room_is_short_the_one_not_used_for_longest_goes() -> None:
    engines = [engine(1, "new", "old", room=2)]
    all_wanted = [wanted("new", last_used_s=200), wanted("old", last_used_s=100), wanted("asked", 0.1, last_used_s=300)]
    assert placed(all_wanted, engines) == {"new": ("small-1",), "old": (), "asked": ("small-1",)}


def test_two_that_are_asked_for_alike_do_not_take_turns() -> None:
    engines = [engine(1, "a", room=1)]
    assert placed([wanted("a", 1.0), wanted("b", 1.2)], engines)["a"] == ("small-1",)
    assert placed([wanted("a", 1.0), wanted("b", 1.6)], engines)["b"] == ("small-1",)


def test_an_adapter_moves_away_from_an_engine_that_could_not_load_it() -> None:
    for number in (1, 2):
        failing = replace(engine(number), adapter_faults=(("a", "no such file"),))
        assert placed([wanted("a")], [failing, engine(3)]) == {"a": ("small-3",)}


def test_an_engine_that_dies_hands_its_adapter_to_one_that_is_ready_and_does_not_take_it_back() -> None:
    before = [engine(1, "a"), engine(2)]
    assert placed([wanted("a")], before) == {"a": ("small-1",)}
    dead = [engine(1, state="restarting"), engine(2)]
    assert placed([wanted("a")], dead) == {"a": ("small-2",)}
    assert placed([wanted("a")], [engine(1), engine(2, "a")]) == {"a": ("small-2",)}


def test_engines_that_drain_get_nothing() -> None:
    assert placed([wanted("a", pinned=True)], [engine(1, "a", state="draining")]) == {"a": ()}


_NAMES = [f"n{number}@1" for number in range(8)]
_WANTED = st.lists(
    st.builds(
        Wanted,
        served_name=st.sampled_from(_NAMES),
        base=st.just("small"),
        is_pinned=st.booleans(),
        demand_per_s=st.floats(0, 20),
        last_used_s=st.floats(0, 1000),
    ),
    unique_by=lambda each: each.served_name,
)
_STATES: list[State] = ["ready", "starting", "draining"]
_ENGINES = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(_STATES), st.sets(st.sampled_from(_NAMES))),
    max_size=5,
).map(
    lambda rows: [
        engine(number, *sorted(loaded)[:room], room=room, state=state)
        for number, (room, state, loaded) in enumerate(rows)
    ]
)


@given(_WANTED, _ENGINES)
def test_no_engine_is_given_more_than_it_takes_and_room_is_not_left_while_one_waits(
    all_wanted: list[Wanted], engines: list[Endpoint]
) -> None:
    places = placed(all_wanted, engines)
    assert set(places) == {each.served_name for each in all_wanted}
    room = 0
    for each in engines:
        given_here = [name for name, where in places.items() if each.endpoint_id in where]
        assert len(given_here) <= (0 if each.state == "draining" else each.max_adapters)
        room += 0 if each.state == "draining" else each.max_adapters - len(given_here)
    waiting = [each for each in all_wanted if not places[each.served_name]]
    assert not (room and waiting)
    # One of a rollout waits only if those of rollouts fill everything.
    if any(each.is_pinned for each in waiting):
        assert all(each.is_pinned for each in all_wanted if places[each.served_name])


@given(_WANTED, _ENGINES)
def test_pinned_ones_are_everywhere_if_all_of_them_fit(all_wanted: list[Wanted], engines: list[Endpoint]) -> None:
    pinned = [each for each in all_wanted if each.is_pinned]
    alive = [each for each in engines if each.state != "draining" and each.max_adapters]
    if all(len(pinned) <= each.max_adapters for each in alive):
        places = placed(all_wanted, engines)
        everywhere = tuple(sorted(each.endpoint_id for each in alive))
        assert all(places[each.served_name] == everywhere for each in pinned)


@given(_WANTED, _ENGINES)
def test_the_order_in_which_all_is_told_decides_nothing(all_wanted: list[Wanted], engines: list[Endpoint]) -> None:
    assert placed(all_wanted[::-1], engines[::-1]) == placed(all_wanted, engines)


@settings(max_examples=300)
@given(_WANTED, _ENGINES)
def test_what_is_asked_for_steadily_comes_to_rest(all_wanted: list[Wanted], engines: list[Endpoint]) -> None:
    places = placed(all_wanted, engines)
    served = {name for name, where in places.items() if where}
    # Once all is loaded, a busier one may take over another's second engine, but nobody is dropped for anybody.
    for _ in range(2):
        engines = loaded_as(places, engines)
        places = placed(all_wanted, engines)
        assert {name for name, where in places.items() if where} == served
    assert placed(all_wanted, loaded_as(places, engines)) == places
