"""Puts answers through vLLM's own chain of parsers with our plugin, in a process of its own: importing it changes much.

Reads a list of {"deltas": [...], "request": {...}} and writes for each what vLLM would send: streamed and not.
"""

import json
import os
import sys
from typing import Any

TOOLS = [{"type": "function", "function": {"name": "opening_hours", "parameters": {"type": "object"}}}]


def through_vllm(deltas: list[str], **fields: Any) -> dict[str, Any]:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.parser.parser_manager import ParserManager

    request = ChatCompletionRequest(
        **({"model": "small", "messages": [{"role": "user", "content": "When?"}], "tools": TOOLS} | fields)
    )
    parser = ParserManager.get_parser(tool_parser_name="qwen_json", enable_auto_tools=True)
    streaming = parser(None, request.tools)
    messages = [
        streaming.parse_delta(delta, [number], request, prompt_token_ids=[0], finished=number == len(deltas))
        for number, delta in enumerate(deltas, 1)
    ]
    _, content, calls = parser(None, request.tools).parse("".join(deltas), request, enable_auto_tools=True)
    return {
        "streamed": [message and message.model_dump(exclude_unset=True, exclude_none=True) for message in messages],
        "content": content,
        "calls": [[call.name, call.arguments] for call in calls or []],
    }


if __name__ == "__main__":
    # vLLM logs to standard output; the answer must stand there alone.
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        from vllm.tool_parsers import ToolParserManager

        ToolParserManager.import_tool_parser("serving.tool_parser")
        json.dump([through_vllm(case["deltas"], **case["request"]) for case in json.load(sys.stdin)], answer)
