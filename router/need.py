"""What one request asks of a model: how difficult it is, in which languages, how long and with what tools."""

from typing import Final

from router.conversations import places_of
from router.estimate import Judge
from router.languages import languages_of
from router.openai_request import Body, Route, answer_tokens, written
from router.policy import Need
from router.query import read_chat, read_prompt

# An answer whose length nobody has limited is taken to need so many tokens.
USUAL_ANSWER_TOKENS: Final = 256


def need_of(route: Route, body: Body, judge: Judge) -> Need:
    """What one request asks of a model."""
    if route == "chat":
        tools = body.get("tools")
        offers_tools = bool(tools) and body.get("tool_choice") != "none"
        answer_format = body.get("response_format") or {}
        query, texts = read_chat(
            body["messages"],
            has_tools=offers_tools,
            wants_json=answer_format.get("type") in ("json_object", "json_schema"),
        )
        tools_tokens = tokens_in(written(tools).decode()) if offers_tools else 0
        before, here = places_of(body["messages"], texts)
    else:
        offers_tools, tools_tokens = False, 0
        before = here = None
        query, text = read_prompt(body["prompt" if route == "completions" else "input"])
        texts = [text]
    estimate = judge.estimate(query)
    return Need(
        difficulty=estimate.difficulty,
        why_difficult=estimate.reason,
        languages=languages_of(*texts),
        tools=offers_tools,
        tokens=tokens_in(*texts) + tools_tokens + (answer_tokens(body) or USUAL_ANSWER_TOKENS),
        chances=estimate.chances,
        scale=estimate.scale,
        before=before,
        here=here,
    )


def tokens_in(*texts: str) -> int:
    """About how many tokens texts have, a line each: one a Chinese character, one for four Latin ones."""
    chars = len(texts) - 1 if texts else 0
    wide_bytes = 0
    for text in texts:
        chars += len(text)
        if not text.isascii():
            # In UTF-8 a Chinese character takes two bytes more than an ASCII one.
            wide_bytes += len(text.encode("utf-8", "replace")) - len(text)
    wide = wide_bytes // 2
    return wide + (chars - wide) // 4
