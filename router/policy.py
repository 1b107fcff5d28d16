"""The choice of one model for one query, with its reasons. A plain function: no HTTP, no clock, no I/O."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from cluster.errors import NotFound, Unavailable
from cluster.settings import Model

AUTO = "auto"
Task = Literal["chat", "embed"]


# Named tuples: made for every request, at a third of what a frozen dataclass costs.
class Need(NamedTuple):
    """What a query asks of a model."""

    difficulty: float
    """0 to 1; see `router.difficulty`."""
    why_difficult: str
    """One short line that a person understands."""
    languages: frozenset[str]
    """ISO 639-1 codes that the conversation is written in."""
    tools: bool
    """Whether the model may be made to call tools."""
    tokens: int
    """Prompt and answer together, estimated."""


class Choice(NamedTuple):
    """The model that answers, and one short line that says why."""

    model: str
    reason: str


class Candidate(NamedTuple):
    """What the choice looks at in a model's card."""

    name: str
    task: Task
    languages: frozenset[str]
    tools: bool
    context_tokens: int
    max_difficulty: float

    @classmethod
    def of(cls, card: Model) -> "Candidate":
        """Read a card."""
        return cls(
            card.name, card.task, frozenset(card.languages), card.tools, card.context_tokens, card.max_difficulty
        )


class NobodyReady(Unavailable):
    """No model that may answer is ready; `models` names those that may."""

    def __init__(self, models: Sequence[str]) -> None:
        super().__init__(f"{' and '.join(models)} {'is' if len(models) == 1 else 'are'} not ready.")
        self.models = tuple(models)


class Roster:
    """The models on duty, cheapest first."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates = tuple(candidates)
        self.chat = tuple(one for one in candidates if one.task == "chat")
        self._by_name = {one.name: one for one in candidates}

    def find(self, name: str) -> Candidate | None:
        """The model of that name."""
        return self._by_name.get(name)


def decide(asked: str, task: Task, need: Need | None, roster: Roster, is_ready: Callable[[str], bool]) -> Choice:
    """The model for one request: the one it names, or for `auto` the one that fits.

    `need` may be None unless `auto` is to chat. Raises NotFound, NobodyReady.
    """
    if asked != AUTO:
        return obey(asked, roster, task)
    if task == "embed":
        return smallest_for_embeddings(roster)
    assert need is not None
    return choose(need, roster.chat, is_ready)


def choose(need: Need, candidates: Sequence[Candidate], is_ready: Callable[[str], bool]) -> Choice:
    """Choose the cheapest model that may be trusted with the query, and go to another if it is not ready.

    `candidates` are the models that chat, cheapest first; at least one. Raises NobodyReady if none that may answer is
    ready.
    """
    grade = "easy" if need.difficulty < 0.5 else "hard"
    if _is_able(candidates[0], need):
        # Nearly always nothing has to be explained or got round.
        for one in candidates:
            if _trusts(one, need.difficulty) and _is_able(one, need):
                if is_ready(one.name):
                    return Choice(one.name, f"{grade} ({need.why_difficult}): {one.name} answers")
                break
    able, because = _able(need, list(candidates))
    trusted = next((one for one in able if _trusts(one, need.difficulty)), able[-1])
    reason = f"{grade} ({need.why_difficult}){because}: {trusted.name} answers"
    if is_ready(trusted.name):
        return Choice(trusted.name, reason)
    # A larger one is at least as good; a smaller one gives a weaker answer, which beats none.
    place = able.index(trusted)
    for other in [*able[place + 1 :], *reversed(able[:place])]:
        if is_ready(other.name):
            return Choice(
                other.name, f"{reason.removesuffix(' answers')} would answer but is not ready, so {other.name} does"
            )
    raise NobodyReady([one.name for one in able])


def obey(name: str, roster: Roster, task: Task) -> Choice:
    """The model that the caller named. Raises NotFound, naming the models that exist."""
    named = roster.find(name)
    if named is None:
        raise NotFound(f"The model {name!r} does not exist here. {_models_that(task, roster)}", "model")
    if named.task != task:
        raise NotFound(f"The model {name!r} {_CANNOT[task]}. {_models_that(task, roster)}", "model")
    return Choice(name, "the request named this model")


def smallest_for_embeddings(roster: Roster) -> Choice:
    """The model for an embedding that names none. Raises NotFound."""
    for one in roster.candidates:
        if one.task == "embed":
            return Choice(one.name, "the smallest model here that makes embeddings")
    raise NotFound(_models_that("embed", roster), "model")


_CANNOT: dict[Task, str] = {"chat": "makes embeddings only", "embed": "makes no embeddings"}


def _trusts(one: Candidate, difficulty: float) -> bool:
    return difficulty < one.max_difficulty or one.max_difficulty == 1


def _is_able(one: Candidate, need: Need) -> bool:
    return one.context_tokens >= need.tokens and (one.tools or not need.tools) and need.languages <= one.languages


def _models_that(task: Task, roster: Roster) -> str:
    names = [one.name for one in roster.candidates if one.task == task]
    if task == "embed":
        return f"Models that make embeddings: {', '.join(names)}." if names else "No model here makes embeddings."
    return f"Models that exist: {', '.join([AUTO, *names])}."


def _able(need: Need, candidates: list[Candidate]) -> tuple[list[Candidate], str]:
    """Those who can read and answer the query at all, and what ruled the first of the others out.

    A demand that nobody meets is dropped: the largest model tries rather than nobody.
    """
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
