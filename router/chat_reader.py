"""Reads ordinary chat bodies without taking them apart: one compiled call for all that the router wants to know."""

from typing import Final

import numpy as np

from router.body_scan import QUESTION_END, QUESTION_START
from router.chat_scan import ALL_RESULTS, read_and_judge, tables
from router.difficulty import BIAS, LOG_ODDS, RANK, WORTH_TELLING, judge, told
from router.languages import languages_of_scripts
from router.need import USUAL_ANSWER_TOKENS
from router.openai_request import ApiRequest
from router.policy import Need
from router.query import Query
from router.scan import WINDOW_CHARS

# Longer bodies are rare and get space of their own for as long as they are read.
_KEPT_POINTS: Final = 262_144


class ChatReader:
    """Holds the space in which texts are decoded. For one event loop."""

    def __init__(self) -> None:
        self._points = np.empty(_KEPT_POINTS, np.uint32)
        self._folded = np.empty(2 * WINDOW_CHARS + 1, np.uint32)
        self._results = np.zeros(ALL_RESULTS, np.int64)
        self._small, self._large = tables(RANK)

    def read(self, raw: bytes) -> tuple[ApiRequest, Need | None] | None:
        """The request and, for `auto`, its need; None for a body that is not ordinary, which may be a wrong one."""
        points = self._points if len(raw) <= _KEPT_POINTS else np.empty(len(raw), np.uint32)
        if not read_and_judge(
            raw, points, self._folded, self._results, self._small, self._large, LOG_ODDS, BIAS, WORTH_TELLING
        ):  # fmt: skip
            return None
        (
            model_start, model_end, is_stream, answer_tokens, turns, texts, chars, wide_bytes, scripts, _, _, _, _,
            home, is_auto, is_judged, thousandths, first, second, is_hard,
        ) = self._results.tolist()  # fmt: skip
        model = raw[model_start + 1 : model_end - 1].decode("ascii")
        request = ApiRequest("chat", None, model, is_stream == 1, (model_start, model_end), home)
        if not is_auto:
            # Nobody asks how difficult a question is that is to go to a named model.
            return request, None
        if is_judged:
            difficulty, why = thousandths / 1000, told(first, second, is_hard == 1)
        else:
            question = points[self._results[QUESTION_START] : self._results[QUESTION_END]]
            text = question.tobytes().decode("utf-32-le")
            difficulty, why = judge(Query(text, chars - len(text), turns))
        # As `need.tokens_in` counts them, with a line break between two texts.
        wide = wide_bytes // 2
        tokens = wide + (chars + texts - 1 - wide) // 4 + (answer_tokens or USUAL_ANSWER_TOKENS)
        return request, Need(difficulty, why, languages_of_scripts(scripts), False, tokens)
