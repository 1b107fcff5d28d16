"""What `serving.tool_calls` finds, in the shape in which vLLM asks for it: a plugin for `--tool-parser-plugin`.

vLLM makes one parser for each request. Of a stream it hands over each delta once and calls `finish_streaming` with the
last, and it ends the answer with `tool_calls` if any delta held a call and the model stopped of itself.
"""

from collections.abc import Sequence
from typing import Any

from vllm.entrypoints.generate.base.protocol import (
    DeltaFunctionCall,
    DeltaMessage,
    DeltaToolCall,
    ExtractedToolCallInformation,
    FunctionCall,
    ToolCall,
)
from vllm.renderers.chat_utils import make_tool_call_id
from vllm.tool_parsers.abstract_tool_parser import ToolParser, ToolParserManager

from serving.tool_calls import NAME, Call, Piece, Reader, read, sorted_out


@ToolParserManager.register_module(NAME)
class QwenJsonToolParser(ToolParser):  # type: ignore[misc]
    """Reads calls in hermes tags, in a fence of JSON, and bare."""

    # Where a call is forced (tool_choice other than auto), vLLM has the model write it in these tags.
    structural_tag_model = "hermes"
    # Without it vLLM would not call `finish_streaming`, and what is kept would be lost.
    engine_based_streaming = True

    def __init__(self, tokenizer: Any, tools: Any = None) -> None:
        super().__init__(tokenizer, tools)
        self._reader: Reader | None = None
        self._call_count = 0

    def extract_tool_calls(self, model_output: str, request: Any) -> Any:
        """Of an answer that is not streamed."""
        calls, content = read(model_output, offered(request))
        return ExtractedToolCallInformation(
            tools_called=bool(calls),
            tool_calls=[ToolCall(function=FunctionCall(name=call.name, arguments=call.arguments)) for call in calls],
            content=content or None,
        )

    def extract_tool_calls_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
        request: Any,
    ) -> Any:
        """Of one delta of a stream; the names are those by which vLLM passes them."""
        if self._reader is None:
            self._reader = Reader(offered(request))
        message = self._message(self._reader.feed(delta_text))
        if message is None and self._reader.is_waiting:
            # Routers give up a stream that is silent for long, and a long call takes long to write.
            return DeltaMessage()
        return message

    def finish_streaming(self) -> Any:
        """Of what was kept, at the end of a stream."""
        return None if self._reader is None else self._message(self._reader.finish())

    def _message(self, pieces: Sequence[Piece]) -> Any:
        calls, content = sorted_out(pieces)
        if not calls and not content:
            return None
        return DeltaMessage(content=content or None, tool_calls=[self._delta(call) for call in calls])

    def _delta(self, call: Call) -> Any:
        index = self._call_count
        self._call_count += 1
        return DeltaToolCall(
            id=make_tool_call_id(),
            type="function",
            index=index,
            function=DeltaFunctionCall(name=call.name, arguments=call.arguments),
        )


def offered(request: Any) -> frozenset[str]:
    """The tools that an answer to this request may call: of chats they are nested, of responses flat."""
    if not request.tools or request.tool_choice == "none":
        return frozenset()
    names = (getattr(getattr(tool, "function", tool), "name", None) for tool in request.tools)
    return frozenset(name for name in names if name)
