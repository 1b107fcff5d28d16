"""Reads ordinary chat bodies without taking them apart: one compiled call for all that the router wants to know."""

from typing import Final

import numpy as np

from router.body_scan import QUESTION_END, QUESTION_START
from router.chat_scan import ALL_RESULTS, new_space, points_in, read_and_judge
from router.estimate import Judge, reason_of
from router.judge_scan import LARGE, SMALL
from router.languages import languages_of_scripts
from router.need import USUAL_ANSWER_TOKENS
from router.openai_request import ApiRequest
from router.policy import AUTO, Need
from router.query import Query

# Longer bodies are rare and get space of their own for as long as they are read.
_KEPT_BYTES: Final = 262_144
_new: Final = tuple.__new__


class ChatReader:
    """Holds the judge in use and the space in which texts are decoded. For one event loop."""

    def __init__(self, judge: Judge) -> None:
        self._space = new_space(_KEPT_BYTES)
        self._results = np.zeros(ALL_RESULTS, np.int64)
        self.judge = judge
        """The judge in use. Another one may be put in its place between two requests."""

    def read(self, raw: bytes) -> tuple[ApiRequest, Need | None] | None:
        """The request and, for `auto`, its need; None for a body that is not ordinary, which may be a wrong one."""
        space = self._space if len(raw) <= _KEPT_BYTES else new_space(len(raw))
        judge = self.judge
        is_ordinary, small_log_odds, large_log_odds, difficulty = read_and_judge(
            raw,
            space,
            self._results,
            SMALL,
            LARGE,
            judge.ngrams,
            judge.numbers,
            judge.seen,
            judge.counts,
        )
        if not is_ordinary:
            return None
        (
            model_start, model_end, is_stream, answer_tokens, turns, texts, chars, wide_bytes, scripts, _, _, _, _, _,
            home, before, here, is_auto, is_judged, task, why, is_hard,
        ) = self._results.tolist()  # fmt: skip
        model = raw[model_start + 1 : model_end - 1].decode("ascii") if not is_auto else AUTO
        # Two values for every request: made past their own `__new__`, which takes thrice the time.
        request = _new(ApiRequest, ("chat", None, model, is_stream == 1, (model_start, model_end), home))
        if not is_auto:
            # Nobody asks how difficult a question is that is to go to a named model.
            return request, None
        if is_judged:
            reason = reason_of(task, why, is_hard)
        else:
            question = points_in(space)[self._results[QUESTION_START] : self._results[QUESTION_END]]
            text = question.tobytes().decode("utf-32-le")
            estimate = judge.estimate(Query(text, chars - len(text), turns))
            small_log_odds, large_log_odds, difficulty, _, reason, _ = estimate
        # As `need.tokens_in` counts them, with a line break between two texts.
        wide = wide_bytes // 2
        tokens = wide + (chars + texts - 1 - wide) // 4 + (answer_tokens or USUAL_ANSWER_TOKENS)
        need = (
            difficulty, reason, languages_of_scripts(scripts), False, tokens, (small_log_odds, large_log_odds),
            judge.scale, before if before >= 0 else None, here,
        )  # fmt: skip
        return request, _new(Need, need)
