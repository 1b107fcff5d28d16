"""The choice of one model for one query, with its reasons. A plain function: no HTTP, no clock, no I/O."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from cluster.errors import NotFound, Unavailable
from cluster.settings import Model

AUTO = "auto"
Task = Literal["chat", "embed"]


@dataclass(frozen=True, slots=True)
class Need:
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


@dataclass(frozen=True, slots=True)
class Choice:
    """The model that answers, and one short line that says why."""

    model: Model
    reason: str


class NobodyReady(Unavailable):
    """No model that may answer is ready; `models` names those that may."""

    def __init__(self, models: Sequence[str]) -> None:
        super().__init__(f"{' and '.join(models)} {'is' if len(models) == 1 else 'are'} not ready.")
        self.models = tuple(models)


def decide(
    asked: str,
    task: Task,
    need: Need,
    cards: Sequence[Model],
    chat_cards: Sequence[Model],
    is_ready: Callable[[str], bool],
) -> Choice:
    """The model for one request: the one it names, or for `auto` the one that fits.

    `cards` are all models on duty, `chat_cards` those of them that chat, both cheapest first. Raises NotFound,
    NobodyReady.
    """
    if asked != AUTO:
        return obey(asked, cards, task)
    if task == "embed":
        return smallest_for_embeddings(cards)
    return choose(need, chat_cards, is_ready)


def choose(need: Need, cards: Sequence[Model], is_ready: Callable[[str], bool]) -> Choice:
    """Choose the cheapest model that may be trusted with the query, and go to another if it is not ready.

    `cards` are the chat models on duty, cheapest first; at least one. Raises NobodyReady if none that may answer is
    ready.
    """
    able, because = _able(need, cards)
    trusted = next((card for card in able if _trusts(card, need.difficulty)), able[-1])
    grade = "easy" if need.difficulty < 0.5 else "hard"
    reason = f"{grade} ({need.why_difficult}){because}: {trusted.name} answers"
    if is_ready(trusted.name):
        return Choice(trusted, reason)
    # A larger one is at least as good; a smaller one gives a weaker answer, which beats none.
    place = able.index(trusted)
    for other in [*able[place + 1 :], *reversed(able[:place])]:
        if is_ready(other.name):
            return Choice(
                other, f"{reason.removesuffix(' answers')} would answer but is not ready, so {other.name} does"
            )
    raise NobodyReady([card.name for card in able])


def obey(name: str, cards: Sequence[Model], task: Task) -> Choice:
    """The model that the caller named. Raises NotFound, naming the models that exist."""
    for card in cards:
        if card.name == name:
            if card.task != task:
                raise NotFound(f"The model {name!r} {_CANNOT[task]}. {_models_that(task, cards)}", "model")
            return Choice(card, "the request named this model")
    raise NotFound(f"The model {name!r} does not exist here. {_models_that(task, cards)}", "model")


def smallest_for_embeddings(cards: Sequence[Model]) -> Choice:
    """The model for an embedding that names none. Raises NotFound."""
    for card in cards:
        if card.task == "embed":
            return Choice(card, "the smallest model here that makes embeddings")
    raise NotFound(_models_that("embed", cards), "model")


_CANNOT: dict[Task, str] = {"chat": "makes embeddings only", "embed": "makes no embeddings"}


def _trusts(card: Model, difficulty: float) -> bool:
    return difficulty < card.max_difficulty or card.max_difficulty == 1


def _models_that(task: Task, cards: Sequence[Model]) -> str:
    names = [card.name for card in cards if card.task == task]
    if task == "embed":
        return f"Models that make embeddings: {', '.join(names)}." if names else "No model here makes embeddings."
    return f"Models that exist: {', '.join([AUTO, *names])}."


def _able(need: Need, cards: Sequence[Model]) -> tuple[list[Model], str]:
    """The cards that can read and answer the query at all, and what ruled the first of the others out.

    A demand that no card meets is dropped: the largest model tries rather than nobody.
    """
    demands: list[tuple[Callable[[Model], bool], str]] = [
        (lambda card: need.languages <= set(card.languages), f"{'/'.join(sorted(need.languages))} is written"),
        (lambda card: card.tools or not need.tools, "tools are offered"),
        (lambda card: card.context_tokens >= need.tokens, f"about {need.tokens} tokens are needed"),
    ]
    because = ""
    able = list(cards)
    for is_met_by, demand in demands:
        left = [card for card in able if is_met_by(card)]
        if not left:
            able = able[-1:]
            because = f", {demand} and no model here is made for it"
        elif len(left) < len(able):
            if able[0] not in left:
                because = f", {demand}"
            able = left
    return able, because
