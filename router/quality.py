"""A model as the judge of the canary's answer beside stable's, for a share of the copied requests."""

from random import random
from typing import Any, Final

import httpx
import orjson

from router.learning.answers import Answer, read_answer
from router.learning.judge_model import small_is_as_good
from router.spare_room import Busy, SpareRoom

_OK: Final = 200
_MAX_ANSWER_BYTES: Final = 64 * 1024


class Qualities:
    """Asks the judge model, where it has little to do. For the loop on which `client` lives."""

    def __init__(self, judge_model: str, ratio: float, room: SpareRoom, client: httpx.AsyncClient) -> None:
        """`ratio`: the share of the pairs that are compared."""
        self._judge_model = judge_model
        self._ratio = ratio
        self._room = room
        self._client = client

    async def compared(self, question: str, canary: str, stable: str) -> float | None:
        """1 if the canary's answer is as good or better, 0 if it is worse, .5 if the judge says so in one order only.

        None if this pair is not drawn, or the judge is busy, away or does not keep to the form.
        """
        if random() >= self._ratio or not canary or not stable:  # noqa: S311  No secret hangs on it.
            return None
        if canary == stable:
            return 1.0
        try:
            return await small_is_as_good(question, canary, stable, self._asked)
        except (Busy, KeyError, httpx.HTTPError):
            return None

    async def _asked(self, body: dict[str, Any]) -> Answer | None:
        slot = await self._room.take(self._judge_model)
        try:
            response = await self._client.post(
                f"{slot.endpoint.base_url}/v1/chat/completions",
                content=orjson.dumps(body | {"model": self._judge_model}),
                headers={"content-type": "application/json", "accept-encoding": "identity"},
            )
        finally:
            self._room.give_back(self._judge_model, slot)
        if response.status_code != _OK or len(response.content) > _MAX_ANSWER_BYTES:
            return None
        return read_answer(response.content)
