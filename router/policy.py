"""The choice of one model for one query, with its reasons. A plain function: no HTTP, no clock, no I/O."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from cluster.errors import NotFound, Unavailable
from cluster.settings import Model
from router.scale import Scale

AUTO = "auto"
Task = Literal["chat", "embed"]


# Named tuples: made for every request, at a third of what a frozen dataclass costs.
class Need(NamedTuple):
    """What a query asks of a model."""

    difficulty: float
    """For the smallest model, 0 to 1; see `router.scale`."""
    why_difficult: str
    """One short line that a person understands."""
    languages: frozenset[str]
    """ISO 639-1 codes that the conversation is written in."""
    tools: bool
    """Whether the model may be made to call tools."""
    tokens: int
    """Prompt and answer together, estimated."""
    chances: tuple[float, float] = (0.0, 0.0)
    """Log-odds that a model of ability 0 and one of ability 1 answer well."""
    scale: Scale = Scale()
    """`scale.difficulty(*chances, ability)` is the difficulty for a model in between; `difficulty` is that at 0."""
    before: int | None = None
    """Where `Conversations` remembers who answered the conversation's turn before; None for a first turn."""
    here: int | None = None
    """Where it is to remember who answers this one; None where there is no conversation."""


class Choice(NamedTuple):
    """The model that answers, and one short line that says why."""

    model: str
    reason: str
    relieved: str = ""
    """The model that was spared because it is busy; "" where load moved nothing."""


class Leaning(NamedTuple):
    """What weighs in a choice besides the question. By itself: nothing."""

    relief: Mapping[str, float] = MappingProxyType({})
    """By how much of difficulty each model wants to be spared, see `router.pressure`; empty while none is busy."""
    earlier: str | None = None
    """The model that answered the conversation's turn before."""
    up_margin: float = 0.0
    """So far above its bar the earlier model still keeps the conversation."""
    down_margin: float = 0.0
    """So far below its bar a question must lie for a cheaper model to take the conversation over."""


UPRIGHT: Final = Leaning()


class Candidate(NamedTuple):
    """What the choice looks at in a model's card."""

    name: str
    task: Task
    languages: frozenset[str]
    tools: bool
    context_tokens: int
    max_difficulty: float
    """Its bar: trusted with questions below it, 1: with all."""
    ability: float
    """0: the small model that the judge knows, 1: the large one."""


def candidates_of(cards: Sequence[Model]) -> list[Candidate]:
    """Read cards, cheapest first. Where one does not state its ability, its place among those that chat does."""
    places = {card.name: place for place, card in enumerate(card for card in cards if card.task == "chat")}
    steps = max(1, len(places) - 1)
    return [
        Candidate(
            card.name, card.task, frozenset(card.languages), card.tools, card.context_tokens, card.max_difficulty,
            card.ability if card.ability is not None else places.get(card.name, 0) / steps,
        )
        for card in cards
    ]  # fmt: skip


class NobodyReady(Unavailable):
    """No model that may answer is ready; `models` names those that may."""

    def __init__(self, models: Sequence[str]) -> None:
        super().__init__(f"{' and '.join(models)} {'is' if len(models) == 1 else 'are'} not ready.")
        self.models = tuple(models)


class Roster:
    """The models on duty, cheapest first."""

    def __init__(self, candidates: Sequence[Candidate], versions_of: Mapping[str, str] = MappingProxyType({})) -> None:
        """`versions_of`: names that are no models of their own, but adapters or prompts of one; `auto` leaves them."""
        self.candidates = tuple(candidates)
        self.chat = tuple(one for one in candidates if one.task == "chat")
        self.versions_of = versions_of
        tasks = {one.name: one.task for one in candidates}
        tasks |= {name: tasks[model] for name, model in versions_of.items()}
        self._by_name = {name: (task, Choice(name, "the request named this model")) for name, task in tasks.items()}

    def names(self, task: Task | None = None) -> list[str]:
        """All that a caller may ask for, or those who do this, but `auto`."""
        return [name for name, (does, _) in self._by_name.items() if task is None or does == task]

    def find(self, name: str) -> tuple[Task, Choice] | None:
        """What the model of that name does, and the choice of it by its name."""
        return self._by_name.get(name)


def decide(
    asked: str,
    task: Task,
    need: Need | None,
    roster: Roster,
    is_ready: Callable[[str], bool],
    leaning: Leaning = UPRIGHT,
) -> Choice:
    """The model for one request: the one it names, or for `auto` the one that fits.

    `need` may be None unless `auto` is to chat. Raises NotFound, NobodyReady.
    """
    if asked != AUTO:
        return obey(asked, roster, task)
    if task == "embed":
        return smallest_for_embeddings(roster)
    assert need is not None
    return choose(need, roster.chat, is_ready, leaning)


def choose(
    need: Need, candidates: Sequence[Candidate], is_ready: Callable[[str], bool], leaning: Leaning = UPRIGHT
) -> Choice:
    """Choose the cheapest model that may be trusted with the query, and go to another if it is not ready.

    Near a model's bar load and an earlier turn may decide otherwise. `candidates` are the models that chat, cheapest
    first; at least one. Raises NobodyReady if none that may answer is ready.
    """
    is_easy = need.difficulty < 0.5
    if not leaning.relief and _is_able(candidates[0], need):
        # Nearly always nothing has to be explained or got round.
        for one in candidates:
            if _is_below(one.max_difficulty, one, need) and (one is candidates[0] or _is_able(one, need)):
                if leaning.earlier in (None, one.name) and is_ready(one.name):
                    return _plain_choice(one.name, is_easy, need.why_difficult)
                break
    grade = "easy" if is_easy else "hard"
    able, because = _able(need, candidates)
    said = f"{grade} ({need.why_difficult}){because}"
    bars = [one.max_difficulty for one in able]
    trusted = chosen = _cheapest(able, bars, need)
    relieved = ""
    if leaning.relief and is_ready(trusted.name):
        bars = _eased(bars, able, leaning.relief, is_ready)
        chosen = _cheapest(able, bars, need)
        if chosen is not trusted:
            said, relieved = f"{said}, {trusted.name} is busy and this is near its border", trusted.name
    earlier = next((one for one in able if one.name == leaning.earlier), None)
    # Where a conversation has to leave its model anyway, it goes where the question belongs.
    if (
        earlier is not None
        and earlier is not chosen
        and is_ready(earlier.name)
        and _cheapest(able, _held(bars, able.index(earlier), leaning), need) is earlier
    ):
        chosen = earlier
        said, relieved = f"{said}, but {chosen.name} answered before", ""
    if is_ready(chosen.name):
        return Choice(chosen.name, f"{said}: {chosen.name} answers", relieved)
    # A larger one is at least as good; a smaller one gives a weaker answer, which beats none.
    place = able.index(chosen)
    for other in [*able[place + 1 :], *reversed(able[:place])]:
        if is_ready(other.name):
            return Choice(other.name, f"{said}: {chosen.name} would answer but is not ready, so {other.name} does")
    raise NobodyReady([one.name for one in able])


def obey(name: str, roster: Roster, task: Task) -> Choice:
    """The model that the caller named. Raises NotFound, naming the models that exist."""
    named = roster.find(name)
    if named is None:
        raise NotFound(f"The model {name!r} does not exist here. {_models_that(task, roster)}", "model")
    does, choice = named
    if does != task:
        raise NotFound(f"The model {name!r} {_CANNOT[task]}. {_models_that(task, roster)}", "model")
    return choice


# Reasons are put together from a few phrases: the same ones come again and again.
@lru_cache(maxsize=4096)
def _plain_choice(model: str, is_easy: bool, why: str) -> Choice:
    return Choice(model, f"{'easy' if is_easy else 'hard'} ({why}): {model} answers")


def smallest_for_embeddings(roster: Roster) -> Choice:
    """The model for an embedding that names none. Raises NotFound."""
    for one in roster.candidates:
        if one.task == "embed":
            return Choice(one.name, "the smallest model here that makes embeddings")
    raise NotFound(_models_that("embed", roster), "model")


_CANNOT: dict[Task, str] = {"chat": "makes embeddings only", "embed": "makes no embeddings"}


def moved(bar: float, by: float) -> float:
    """A bar moved up or down, at most half of the way to the end before it and as far as to the end behind it.

    What is clearly hard or easy stays so, and a model that is trusted with everything or with nothing stays that.
    """
    return bar + min(by, (1 - bar) / 2, bar) if by > 0 else bar - min(-by, bar / 2, 1 - bar)


def _is_below(bar: float, one: Candidate, need: Need) -> bool:
    """Whether a model with this bar is trusted with the query."""
    if bar == 1:
        return True
    if one.ability == 0:
        return need.difficulty < bar
    small, large = need.chances
    return need.scale.difficulty(small, large, one.ability) < bar


def _cheapest(able: Sequence[Candidate], bars: Sequence[float], need: Need) -> Candidate:
    """The first that is trusted; where none is, the last."""
    for one, bar in zip(able, bars, strict=True):
        if _is_below(bar, one, need):
            return one
    return able[-1]


def _eased(
    bars: Sequence[float], able: Sequence[Candidate], relief: Mapping[str, float], is_ready: Callable[[str], bool]
) -> list[float]:
    """The bars between neighbours moved away from the busier one. Two that are equally busy leave theirs as it is."""
    eased = list(bars)
    # A query that moves must arrive: only models that are ready are neighbours.
    ready = [place for place, one in enumerate(able) if is_ready(one.name)]
    for place, dearer in pairwise(ready):
        eased[place] = moved(bars[place], relief.get(able[dearer].name, 0.0) - relief.get(able[place].name, 0.0))
    return eased


def _held(bars: Sequence[float], earlier: int, leaning: Leaning) -> list[float]:
    """The bars as they are for a conversation whose turn before was answered by the model at place `earlier`."""
    return [
        moved(bar, -leaning.down_margin) if place < earlier else moved(bar, leaning.up_margin) if place == earlier
        else bar
        for place, bar in enumerate(bars)
    ]  # fmt: skip


def _is_able(one: Candidate, need: Need) -> bool:
    return one.context_tokens >= need.tokens and (one.tools or not need.tools) and need.languages <= one.languages


def _models_that(task: Task, roster: Roster) -> str:
    names = roster.names(task)
    if task == "embed":
        return f"Models that make embeddings: {', '.join(names)}." if names else "No model here makes embeddings."
    return f"Models that exist: {', '.join([AUTO, *names])}."


def _able(need: Need, candidates: Sequence[Candidate]) -> tuple[list[Candidate], str]:
    """Those who can read and answer the query at all, and what ruled the first of the others out.

    A demand that nobody meets is dropped: the largest model tries rather than nobody.
    """
    if _is_able(candidates[0], need):
        return [one for one in candidates if _is_able(one, need)], ""
    languages, needs_tools, tokens = need.languages, need.tools, need.tokens
    demands: list[tuple[Callable[[Candidate], bool], str]] = [
        (lambda one: languages <= one.languages, f"{'/'.join(sorted(languages))} is written"),
        (lambda one: one.tools or not needs_tools, "tools are offered"),
        (lambda one: one.context_tokens >= tokens, f"about {tokens} tokens are needed"),
    ]
    because = ""
    able = list(candidates)
    for is_met_by, demand in demands:
        left = [one for one in able if is_met_by(one)]
        if not left:
            able = able[-1:]
            because = f", {demand} and no model here is made for it"
        elif len(left) < len(able):
            if able[0] not in left:
                because = f", {demand}"
            able = left
    return able, because
