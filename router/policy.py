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


def decide(
    asked: str, task: Task, need: Need | None, candidates: Sequence[Candidate], is_ready: Callable[[str], bool]
) -> Choice:
    """The model for one request: the one it names, or for `auto` the one that fits.

    `candidates` are all models on duty, cheapest first; `need` may be None unless `auto` is to chat. Raises NotFound,
    NobodyReady.
    """
    if asked != AUTO:
        return obey(asked, candidates, task)
    if task == "embed":
        return smallest_for_embeddings(candidates)
    assert need is not None
    return choose(need, candidates, is_ready)


def choose(need: Need, candidates: Sequence[Candidate], is_ready: Callable[[str], bool]) -> Choice:
    """Choose the cheapest model that may be trusted with the query, and go to another if it is not ready.

    `candidates` are the models on duty, cheapest first; at least one chats. Raises NobodyReady if none that may answer
    is ready.
    """
    able, because = _able(need, [one for one in candidates if one.task == "chat"])
    trusted = next((one for one in able if _trusts(one, need.difficulty)), able[-1])
    grade = "easy" if need.difficulty < 0.5 else "hard"
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


def obey(name: str, candidates: Sequence[Candidate], task: Task) -> Choice:
    """The model that the caller named. Raises NotFound, naming the models that exist."""
    for one in candidates:
        if one.name == name:
            if one.task != task:
                raise NotFound(f"The model {name!r} {_CANNOT[task]}. {_models_that(task, candidates)}", "model")
            return Choice(name, "the request named this model")
    raise NotFound(f"The model {name!r} does not exist here. {_models_that(task, candidates)}", "model")


def smallest_for_embeddings(candidates: Sequence[Candidate]) -> Choice:
    """The model for an embedding that names none. Raises NotFound."""
    for one in candidates:
        if one.task == "embed":
            return Choice(one.name, "the smallest model here that makes embeddings")
    raise NotFound(_models_that("embed", candidates), "model")


_CANNOT: dict[Task, str] = {"chat": "makes embeddings only", "embed": "makes no embeddings"}


def _trusts(one: Candidate, difficulty: float) -> bool:
    return difficulty < one.max_difficulty or one.max_difficulty == 1


def _models_that(task: Task, candidates: Sequence[Candidate]) -> str:
    names = [one.name for one in candidates if one.task == task]
    if task == "embed":
        return f"Models that make embeddings: {', '.join(names)}." if names else "No model here makes embeddings."
    return f"Models that exist: {', '.join([AUTO, *names])}."


def _able(need: Need, candidates: list[Candidate]) -> tuple[list[Candidate], str]:
    """Those who can read and answer the query at all, and what ruled the first of the others out.

    A demand that nobody meets is dropped: the largest model tries rather than nobody.
    """
    languages, needs_tools, tokens = need.languages, need.tools, need.tokens
    able = [
        one
        for one in candidates
        if one.context_tokens >= tokens and (one.tools or not needs_tools) and languages <= one.languages
    ]
    if able and able[0] is candidates[0]:
        # Nearly always; nothing has to be explained then.
        return able, ""
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
