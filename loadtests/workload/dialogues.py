"""Conversations of several turns: what a person says is written, what the model says is its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from cluster.closed import Closed, Name
from loadtests.workload.answer import Answer
from loadtests.workload.body import Message

_FILE: Final = Path(__file__).with_name("dialogues.jsonl")
MOST_KEPT_CHARS: Final = 2000
"""Of one answer in the history, so that a talkative model cannot make prompts grow without bounds."""


class Dialogue(Closed):
    """What one person says, turn by turn, whatever they are told."""

    id: Name
    language: Literal["zh", "en"]
    difficulty: Literal["easy", "hard"]
    system: str = Field(min_length=1)
    turns: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=3, max_length=5)


def load_dialogues() -> tuple[Dialogue, ...]:
    """Those that come with us."""
    lines = _FILE.read_text(encoding="utf-8").splitlines()
    return tuple(Dialogue.model_validate_json(line) for line in lines)


def kept(text: str) -> str:
    """As much of an answer as is sent back in the history, and only what UTF-8 can carry."""
    return text[:MOST_KEPT_CHARS].encode("utf-8", "replace").decode()


class Conversation:
    """One person in the middle of a dialogue."""

    __slots__ = ("_dialogue", "_most_turns", "messages", "turn")

    def __init__(self, dialogue: Dialogue, most_turns: int) -> None:
        self._dialogue = dialogue
        self._most_turns = most_turns
        self.turn = 0
        self.messages: list[Message] = [
            {"role": "system", "content": dialogue.system},
            {"role": "user", "content": dialogue.turns[0]},
        ]

    @property
    def script(self) -> Dialogue:
        """What this person goes by."""
        return self._dialogue

    @property
    def more(self) -> Mapping[str, object]:
        """Nothing beside the messages."""
        return {}

    @property
    def marks(self) -> None:
        """Nobody can tell whether an answer in a conversation is right."""
        return None

    def hear(self, answer: Answer) -> bool:
        """Take in the answer; whether the person has something more to say."""
        self.turn += 1
        if self.turn >= turns_of(self._dialogue, self._most_turns):
            return False
        self.messages.append({"role": "assistant", "content": kept(answer.text)})
        self.messages.append({"role": "user", "content": self._dialogue.turns[self.turn]})
        return True


def turns_of(dialogue: Dialogue, most_turns: int) -> int:
    """How many turns it has."""
    return min(len(dialogue.turns), most_turns)
