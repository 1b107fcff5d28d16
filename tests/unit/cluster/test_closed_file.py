"""Files of closed models: keys below lists and tables can be said otherwise, and what cannot be is told."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from cluster.closed import Closed
from cluster.closed_file import ClosedFile, always
from cluster.errors import UserError


class Round(Closed):
    kind: Literal["round"] = "round"
    radius: float = 1


class Square(Closed):
    kind: Literal["square"] = "square"
    side: float
    plan: Path | None = None


class Room(Closed):
    name: str
    shape: Annotated[Round | Square, Field(discriminator="kind")] | None = None


class Paint(Closed):
    colours: dict[Literal["red", "blue"], float] = Field(default={"red": 2, "blue": 1})
    layers: tuple[int, ...] = (3, 4)


class House(Closed):
    rooms: tuple[Room, ...] = ()
    guests: tuple[Room, ...] = (Room(name="spare", shape=Square(side=3)),)
    paint: Paint = Paint()
    papers: tuple[Path, ...] = ()


HOUSES = ClosedFile(
    model=House,
    noun="house",
    first_key="rooms",
    printed_by="build house",
    example="rooms.0.name=hall",
    paths={("papers",): always, ("rooms", "shape", "plan"): always},
    package="cluster",
    folder="profiles",
)
GOOD = """\
rooms:
  - name: hall
    shape: {kind: square, side: 4, plan: hall.png}
  - &small
    name: bath
    shape: {kind: round}
  - *small
"""


def house(*overrides: str, text: str = GOOD) -> House:
    return HOUSES.parse(text.encode(), "h.yaml", Path("/files"), overrides)


def wrong(*overrides: str, text: str = GOOD) -> str:
    with pytest.raises(UserError) as caught:
        house(*overrides, text=text)
    return str(caught.value)


def test_an_item_of_a_list_is_named_by_its_number() -> None:
    made = house("rooms.0.shape.side=5", "rooms[1].name=kitchen")

    assert made.rooms[0].shape == Square(side=5, plan=Path("/files/hall.png"))
    assert [room.name for room in made.rooms] == ["hall", "kitchen", "bath"]


def test_a_whole_item_may_be_replaced_and_paths_in_it_are_relative_to_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    made = house("rooms.1={name: attic, shape: {kind: square, side: 1, plan: a.png}}", "papers=[deed.pdf]")

    assert made.rooms[1].shape == Square(side=1, plan=tmp_path / "a.png")
    assert made.papers == (tmp_path / "deed.pdf",)


def test_what_the_file_does_not_say_is_changed_from_its_default() -> None:
    made = house("paint.colours.blue=5", "paint.layers.1=9", "guests.0.shape.side=7")

    assert made.paint == Paint(colours={"red": 2, "blue": 5}, layers=(3, 9))
    assert made.guests == (Room(name="spare", shape=Square(side=7)),)


def test_one_kind_may_become_another() -> None:
    made = house("rooms.0.shape={kind: round}", "rooms.0.shape.radius=2")

    assert made.rooms[0].shape == Round(radius=2)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("rooms.3.name=x", "--set rooms.3.name=x: rooms has only the items 0 to 2"),
        ("guests.1={name: x}", "--set guests.1={name: x}: guests has only the item 0"),
        ("papers.0=x", "--set papers.0=x: papers has no items; write the whole list: papers=[...]"),
        ("rooms.name=x", "--set rooms.name=x: a house has no key rooms.name; did you mean rooms.0.name?"),
        ("rooms.2.nam=x", "--set rooms.2.nam=x: a house has no key rooms.2.nam; did you mean rooms.2.name?"),
        ("paint.0=x", "--set paint.0=x: a house has no key paint.0; did you mean paint?"),
        ("zzz=x", "--set zzz=x: a house has no key zzz; `build house --keys` lists the keys"),
        ("=x", "--set =x: write a key, `=` and a value, such as --set rooms.0.name=hall"),
        ("rooms.0.shape.side=x", "--set rooms.0.shape.side=x: rooms[0].shape.side: must be a number, got 'x'"),
        (
            "rooms.1.shape.side=2",
            "--set rooms.1.shape.side=2: rooms[1].shape.side: unknown key; known here: kind, radius",
        ),
        (
            "paint.colours.green=1",
            "--set paint.colours.green=1: paint.colours.green: should be 'red' or 'blue', got 'green'",
        ),
    ],
)
def test_an_override_that_cannot_be_is_told_what_could(override: str, said: str) -> None:
    assert wrong(override) == said


def test_a_file_that_holds_something_else_than_the_override_needs_is_named() -> None:
    assert wrong("rooms.0.name=x", text="rooms: none") == "h.yaml line 1: rooms: must be a list"
    assert wrong("paint.layers=[1]", text="rooms: []\npaint: 3") == "h.yaml line 2: paint: must hold keys and values"
