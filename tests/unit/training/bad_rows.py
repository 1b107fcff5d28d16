"""Files that nobody should train on, and the whole sentence that is said about each."""

import gzip
import io
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from training.rows_lines import MAX_LINE_BYTES

GOOD = {"prompt": "怎么办理居住证？", "answer": "到派出所办理。"}
OTHER = {"prompt": "How do I renew a passport?", "answer": "At the immigration office."}
CHAT = {"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}


class Bad(NamedTuple):
    """One file that nobody should train on."""

    content: bytes
    says: str
    """What follows the file's path."""
    name: str = "rows.jsonl"
    data: Mapping[str, Any] = MappingProxyType({})
    objective: str = "sft"


def lines(*rows: object) -> bytes:
    return "".join(f"{row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def chat(*messages: object) -> bytes:
    return lines(GOOD, {"messages": list(messages)})


def table(**columns: Any) -> bytes:
    return parquet_of(pa.table(columns))


def parquet_of(rows: pa.Table) -> bytes:
    file = io.BytesIO()
    parquet.write_table(rows, file)
    return file.getvalue()


BAD: dict[str, Bad] = {
    # ---- the file -------------------------------------------------------------------------------------------------
    "an empty file": Bad(b"", ": the file is empty; it should hold one JSON object a line"),
    "only empty lines": Bad(b"\n \n\n", ": the file is empty; it should hold one JSON object a line"),
    "gzip": Bad(gzip.compress(lines(GOOD)), ": this is a gzip file; unpack it with `gunzip`"),
    "a workbook": Bad(b"PK\x03\x04....", ": this is a zip or Excel file; export the rows as JSONL or Parquet"),
    "Parquet by another name": Bad(
        table(prompt=["a"], answer=["b"]), ": this is a Parquet file; give it a name that ends in .parquet"
    ),
    "one JSON list": Bad(
        b"[\n" + lines(GOOD), ": this is one JSON list; write one object a line (`jq -c '.[]'` does)"
    ),
    "UTF-16": Bad(
        json.dumps(GOOD).encode("utf-16"), ": this is UTF-16; convert it with `iconv -f UTF-16 -t UTF-8`"
    ),
    "UTF-16 without its mark": Bad(
        json.dumps(GOOD).encode("utf-16-le"), ": this is no text, or UTF-16 (it has NUL bytes); save it as UTF-8"
    ),
    "GBK": Bad(
        lines(OTHER) + lines(GOOD, GOOD).decode().encode("gbk"),
        ", line 2: this is GB18030 (GBK), not UTF-8; convert it with `iconv -f GB18030 -t UTF-8` (1 more lines are so)",
    ),
    "Latin-1": Bad(
        '{"prompt": "Où est-ce ?", "answer": "Là."}'.encode("latin-1"),
        ", line 1: this is not UTF-8 (byte 14 of the line is 0xF9); save it as UTF-8",
    ),
    "files joined": Bad(
        lines(GOOD) + b"\xef\xbb\xbf" + lines(OTHER),
        ", line 2: a byte order mark stands here: files were joined; take the mark out",
    ),
    "a forgotten line break": Bad(
        lines(GOOD) + b'{"prompt": "' + b"a" * MAX_LINE_BYTES + b'"}\n' + lines(OTHER),
        ", line 2: the line is longer than 8 MiB; is a line break missing?",
    ),
    # ---- the line -------------------------------------------------------------------------------------------------
    "CSV": Bad(
        b"prompt,answer\n", ", line 1: this is not JSON: expecting value at character 1"
    ),
    "a row on many lines": Bad(
        json.dumps(GOOD, indent=1).encode().split(b"\n")[0],
        ", line 1: a row is one object on one line, and this one goes on below (`jq -c .` mends it)",
    ),
    "half a line": Bad(
        lines(OTHER)[:-5], ", line 1: this is not JSON: unterminated string starting at character 52"
    ),
    "half a character": Bad(
        lines(GOOD)[:-5],
        ", line 1: the file ends in half a character: it was cut off; take it from its source again",
    ),
    "a list for a row": Bad(lines(GOOD, '"text"'), ", line 2: a row is a JSON object, this is a text"),
    "a key that stands twice": Bad(
        lines('{"prompt": "a", "prompt": "b", "answer": "c"}'),
        ", line 1: a key stands twice in one object; keep one",
    ),
    "NaN": Bad(
        lines('{"prompt": "a", "answer": NaN}'),
        ", line 1: NaN and Infinity are no JSON; leave the key out, or use null",
    ),
    "a nest of lists": Bad(b'{"a":' + b"[" * 100_000, ", line 1: this nests deeper than any row does"),
    "a number without an end": Bad(
        b'{"a": ' + b"1" * 5000 + b"}", ", line 1: this is not JSON: a number has too many digits"
    ),
    # ---- the row --------------------------------------------------------------------------------------------------
    "an unknown key": Bad(
        lines({**GOOD, "weight": 1}),
        ", line 1: key weight is not known; a row has answer, completion, group, messages, prompt, system",
    ),
    "a key of another format": Bad(
        lines({"instruction": "a", "output": "b"}), ", line 1: key instruction is not known; is prompt meant?"
    ),
    "a text for a key": Bad(
        lines({"我的身份证丢了": "去派出所"}),
        ", line 1: a key is not known; a row has answer, completion, group, messages, prompt, system",
    ),
    "no answer": Bad(
        lines({"prompt": "a"}), ", line 1: answer is missing; a row has prompt and answer, or messages"
    ),
    "two answers": Bad(
        lines({**GOOD, "completion": "c"}), ", line 1: answer and completion mean the same; give one"
    ),
    "both forms": Bad(
        lines({"messages": CHAT, "prompt": "a"}),
        ", line 1: messages and prompt exclude each other; write prompt as one of the messages",
    ),
    "a number for a text": Bad(
        lines({"prompt": "1 + 1?", "answer": 2}), ", line 1: answer must be a text, this is a number"
    ),
    "null for a text": Bad(
        lines({"prompt": "1 + 1?", "answer": None}), ", line 1: answer must be a text, this is null"
    ),
    "an empty answer": Bad(lines(GOOD, {"prompt": "a", "answer": " \n"}), ", line 2: answer is empty"),
    "a group on two lines": Bad(
        lines({**GOOD, "group": "a\nb"}), ", line 1: group is a label of one line and at most 200 characters"
    ),
    "preferences for SFT": Bad(
        lines({"prompt": "a", "chosen": "b", "rejected": "c"}),
        ", line 1: chosen and rejected are rows for DPO; set objective: dpo, or give answer",
    ),
    # ---- the chat -------------------------------------------------------------------------------------------------
    "no messages": Bad(chat(), ", line 2: messages is empty"),
    "a text for messages": Bad(
        lines({"messages": "hello"}), ", line 1: messages must be a list, this is a text"
    ),
    "a text for a message": Bad(
        chat("hello"), ", line 2: messages[0] must be an object with role and content, this is a text"
    ),
    "an unknown role": Bad(
        chat({"role": "human", "content": "a"}),
        ", line 2: messages[0].role must be one of system, user, assistant; this is human: call it user",
    ),
    "a tool's answer": Bad(
        chat({"role": "tool", "content": "a"}),
        ", line 2: messages[0].role must be one of system, user, assistant; this is tool: "
        "answers of tools are not learnt from",
    ),
    "a call of a tool": Bad(
        chat(CHAT[0], {"role": "assistant", "content": None, "tool_calls": [{}]}),
        ", line 2: messages[1] has tool_calls; calls of tools are not learnt, leave such rows out",
    ),
    "a picture": Bad(
        chat({"role": "user", "content": [{"type": "image_url"}]}),
        ", line 2: messages[0].content is a list of parts; write the text itself, pictures are not learnt",
    ),
    "ShareGPT": Bad(
        lines({"conversations": [{"from": "human", "value": "a"}]}),
        ", line 1: key conversations is not known; is messages meant?",
    ),
    "the user has the last word": Bad(
        chat(*CHAT, CHAT[0]),
        ", line 2: messages end with user; the last must be the assistant's, to be learnt",
    ),
    "two users in a row": Bad(
        chat(CHAT[0], *CHAT),
        ", line 2: messages[1] is user, where assistant should speak: "
        "system may stand first, then user and assistant take turns",
    ),
    "a late system prompt": Bad(
        chat(*CHAT, {"role": "system", "content": "a"}, *CHAT),
        ", line 2: messages[2] is system, where user should speak: "
        "system may stand first, then user and assistant take turns",
    ),
    "only a system prompt": Bad(
        chat({"role": "system", "content": "a"}),
        ", line 2: messages has only a system prompt: system may stand first, then user and assistant take turns",
    ),
    "an empty turn": Bad(
        chat({"role": "user", "content": ""}, CHAT[1]), ", line 2: messages[0].content is empty"
    ),
    # ---- the text -------------------------------------------------------------------------------------------------
    "a control character": Bad(
        lines({"prompt": "a\u0007b", "answer": "c"}),
        ", line 1: prompt has the control character U+0007 at 2; take it out",
    ),
    "half a surrogate pair": Bad(
        lines('{"prompt": "a\\ud83d", "answer": "c"}'),
        ", line 1: prompt has half of a surrogate pair, which is no character; write the whole one",
    ),
    "a replacement character": Bad(
        lines({"prompt": "a", "answer": "居住\ufffd"}),
        ", line 1: answer has the replacement character U+FFFD: text was lost; take it from its source again",
    ),
    "lost text in GBK": Bad(
        lines({"prompt": "a", "answer": "居住锟斤拷"}),
        ", line 1: answer has 锟斤拷, which is lost text read as GBK; take it from its source again",
    ),
    "UTF-8 read as Latin-1": Bad(
        lines({"prompt": "a", "answer": "caf\u00c3\u00a9"}),
        ", line 1: answer is UTF-8 that was read as Latin-1 (Windows-1252); read its source as UTF-8",
    ),
    "UTF-8 read as GBK": Bad(
        lines({"prompt": "办理居住证明".encode().decode("gb18030"), "answer": "a"}),
        ", line 1: prompt is UTF-8 that was read as GBK; read its source as UTF-8",
    ),
    "personal data": Bad(
        lines(GOOD, {"prompt": "我的手机是13800138000，邮箱a@example.com", "answer": "好"}),
        ", line 2: it has personal data: email, phone; take it out, or set data.personal_data to mask or leave_out",
    ),
    "a person for a group": Bad(
        lines(OTHER, {**GOOD, "group": "身份证号11010519491231002X"}),
        ", line 2: it has personal data: id; take it out, or set data.personal_data to mask or leave_out",
    ),
    "a row said twice": Bad(
        lines(GOOD, OTHER, {"messages": [
            {"role": "user", "content": f" {GOOD['prompt']}"}, {"role": "assistant", "content": GOOD["answer"]},
        ]}),
        ", line 3: the same row stands at {path}, line 1; take one out, or set data.duplicates to leave_out",
        data={"duplicates": "refuse"},
    ),
    # ---- preferences ----------------------------------------------------------------------------------------------
    "answers for DPO": Bad(
        lines(GOOD), ", line 1: a row for DPO has chosen and rejected, no answer; or set objective: sft",
        objective="dpo",
    ),
    "no rejected answer": Bad(
        lines({"prompt": "a", "chosen": "b"}),
        ", line 1: rejected is missing; a row for DPO has prompt or messages, chosen and rejected",
        objective="dpo",
    ),
    "nothing to prefer": Bad(
        lines({"prompt": "a", "chosen": "b", "rejected": "b "}),
        ", line 1: chosen and rejected are the same; nothing can be learnt from that",
        objective="dpo",
    ),
    "nobody asked": Bad(
        lines({"messages": CHAT, "chosen": "b", "rejected": "c"}),
        ", line 1: messages end with assistant; before chosen and rejected a user must have asked",
        objective="dpo",
    ),
    # ---- Parquet --------------------------------------------------------------------------------------------------
    "no Parquet": Bad(
        lines(GOOD), ": this is no Parquet file; a file of JSON lines has a name that ends in .jsonl", "rows.parquet"
    ),
    "an empty Parquet file": Bad(b"", ": the file is empty", "rows.parquet"),
    "half a Parquet file": Bad(
        table(prompt=["a"], answer=["b"])[:-9], ": the file is cut off or damaged; write it anew", "rows.parquet"
    ),
    "Parquet without rows": Bad(
        table(prompt=pa.array([], pa.string()), answer=pa.array([], pa.string())), ": the file has no rows",
        "rows.parquet",
    ),
    "a column of numbers": Bad(
        table(prompt=["1 + 1?"], answer=[2]), ": column answer is of type int64; it must be string", "rows.parquet"
    ),
    "a chat without a structure": Bad(
        table(messages=[["a", "b"]]),
        ": column messages is of type list<element: string>; it must be list<struct<role: string, content: string>>",
        "rows.parquet",
    ),
    "a column that lacks": Bad(
        table(prompt=["a"]), ", row 1: answer is missing; a row has prompt and answer, or messages", "rows.parquet"
    ),
    "a column that stands twice": Bad(
        parquet_of(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["prompt", "answer", "prompt"])),
        ": column prompt stands twice; keep one", "rows.parquet",
    ),
    "a column of bytes": Bad(
        table(prompt=["a"], answer=[b"\xff"]), ": column answer is of type binary; it must be string", "rows.parquet"
    ),
    "bytes called a text": Bad(
        parquet_of(pa.table({"prompt": ["a"], "answer": pa.array([b"\xff"]).view(pa.string())})),
        ": a text after row 0 is not UTF-8; write the file anew from texts, not from bytes", "rows.parquet",
    ),
    "an unknown column": Bad(
        table(prompt=["a"], answer=["b"], __index_level_0__=[1]),
        ", row 1: key __index_level_0__ is not known; a row has answer, completion, group, messages, prompt, system",
        "rows.parquet",
    ),
    "a null in a column": Bad(
        table(prompt=["a", "b"], answer=["c", None]),
        ", row 2: answer is missing; a row has prompt and answer, or messages", "rows.parquet",
    ),
}  # fmt: skip

BAD_TOGETHER: dict[str, Bad] = {
    "a row that is too long": Bad(
        lines(GOOD, {"prompt": "a" * 30, "answer": "b" * 60}),
        ", line 2: it has 94 tokens, template included, and data.max_tokens is 64; "
        "shorten it, raise max_tokens, or set data.too_long to leave_out",
        data={"max_tokens": 64},
    ),
    "one group": Bad(
        lines({**GOOD, "group": "a"}, {**OTHER, "group": "a"}),
        ": all 2 rows are of one group, and a group is not torn: "
        "give rows of other groups, or held-out rows as data.test_rows",
    ),
    "one question": Bad(
        lines(GOOD, {**GOOD, "answer": "网上办。"}),
        ": 2 rows ask one question: give others, or held-out rows as data.test_rows",
    ),
    "groups that are too large": Bad(
        lines(*({"prompt": f"{number}?", "answer": "a", "group": "ab"[number % 2]} for number in range(40))),
        ": data.test_ratio is 0.1 and whole groups give 0.50 at the nearest: there are 2 groups, the largest of "
        "20, 20 rows; set test_ratio to 0.50, use smaller groups, or give held-out rows as data.test_rows",
        data={"test_ratio": 0.1},
    ),
    "everything left out": Bad(
        lines({"prompt": "a" * 90, "answer": "b"}, {"prompt": "b" * 90, "answer": "b"}),
        ": there are no rows to split",
        data={"too_long": "leave_out", "max_tokens": 64},
    ),
}
