"""Two public suites of HTTP/1.1 requests with their verdicts, read out of the packages that carry them."""

import ast
import functools
import json
import re
from dataclasses import dataclass
from typing import Any, Final

from tests.conformance.packages import SourcePackage

# Its own suite: 143 requests in `tests/requests`, each with what a server must make of it.
GUNICORN: Final = SourcePackage(
    "gunicorn", "27.0.1", "b1514965361c8b7e8107a80aa2a92636878df1ccfac6dd204a676426e04d9e3e"
)
# Carries llhttp 9.4.2 with its suite.
AIOHTTP: Final = SourcePackage("aiohttp", "3.14.5", "5558a7f5a05af9ecf744af91e5baefc436f93c9333e656c27ec253f9a6bbe178")


@dataclass(frozen=True)
class Expected:
    """One request as a suite says that it must be understood. `headers`: None where the suite does not say."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] | None
    body: bytes


@dataclass(frozen=True)
class Case:
    """One stream of bytes and what is in it. `is_refused`: after those requests comes something that is none."""

    name: str
    raw: bytes
    requests: tuple[Expected, ...]
    is_refused: bool


@functools.cache
def gunicorn_cases() -> list[Case]:
    """Those cases that set no option of gunicorn's own."""
    files = GUNICORN.files("tests/requests", (".http", ".py"))
    cases = []
    for name in sorted(name.removesuffix(".http") for name in files if name.endswith(".http")):
        told = ast.parse(files[f"{name}.py"])
        if _sets_an_option(told):
            continue
        is_refused = name.startswith("invalid/")
        requests = () if is_refused else _gunicorn_requests(told)
        cases.append(Case(name, with_host(_gunicorn_raw(files[f"{name}.http"])), requests, is_refused))
    return cases


@functools.cache
def llhttp_cases() -> list[Case]:
    """Those cases that are requests read strictly."""
    files = AIOHTTP.files("vendor/llhttp/test/request", (".md",))
    cases = []
    for name, data in sorted(files.items()):
        text = data.decode("utf-8")
        block = r"<!-- meta=(?P<meta>[^\n]*?) -->\s*```http\n(?P<http>[^`]*)```\s*```log\n(?P<log>[^`]*)```"
        for number, found in enumerate(re.finditer(block, text, re.DOTALL), 1):
            meta = json.loads(found["meta"])
            if meta["type"] != "request" or "skipBody" in meta:
                continue
            title = re.findall(r"^#+ (.*)$", text[: found.start()], re.MULTILINE)[-1]
            title = re.sub(r"[^\w]+", "-", title).strip("-").lower()
            requests, is_refused = _llhttp_log(found["log"])
            raw = with_host(_llhttp_raw(found["http"]))
            cases.append(Case(f"{name.removesuffix('.md')}/{number}-{title}", raw, requests, is_refused))
    return cases


def with_host(raw: bytes) -> bytes:
    """The same with the host that HTTP/1.1 demands; both suites are about parsers, which do not."""
    first = raw.lstrip(b"\r\n").partition(b"\r\n")[0]
    if not first.endswith(b" HTTP/1.1") or re.search(rb"^host[ \t]*:", raw, re.IGNORECASE | re.MULTILINE):
        return raw
    return re.sub(rb"( HTTP/1\.1\r\n)", rb"\1host: a\r\n", raw)


# ---- gunicorn ------------------------------------------------------------------------------------------------------


def _sets_an_option(told: ast.Module) -> bool:
    return any(isinstance(node, ast.Attribute) and node.attr == "set" for node in ast.walk(told))


def _gunicorn_raw(text: bytes) -> bytes:
    """The line ends of such a file mean nothing; those of the request are written out."""
    named = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0"}
    return re.sub(
        rb"\\(?:x([0-9a-fA-F]{2})|([rnt0]))",
        lambda found: bytes([int(found[1], 16)]) if found[1] else named[found[2]],
        text.replace(b"\n", b""),
    )


def _gunicorn_requests(told: ast.Module) -> tuple[Expected, ...]:
    values: dict[str, Any] = {}
    for statement in told.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            values[statement.targets[0].id] = _value(statement.value, values)
    requests = values["request"] if isinstance(values["request"], list) else [values["request"]]
    return tuple(
        Expected(request["method"], request["uri"], tuple(request["headers"]), request["body"]) for request in requests
    )


def _value(node: ast.expr, known: dict[str, Any]) -> Any:
    """What an expression of such a file says; it is read, not run."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return known.get(node.id)
        case ast.Call(func=ast.Name("uri"), args=[argument]):
            return _value(argument, known)
        case ast.Dict():
            pairs = zip(node.keys, node.values, strict=True)
            return {_value(key, known): _value(value, known) for key, value in pairs if key is not None}
        case ast.List() | ast.Tuple():
            values = [_value(element, known) for element in node.elts]
            return values if isinstance(node, ast.List) else tuple(values)
        case ast.BinOp(op=ast.Mult()):
            return _value(node.left, known) * _value(node.right, known)
        case ast.BinOp(op=ast.Add()):
            return _value(node.left, known) + _value(node.right, known)
        case ast.Call(func=ast.Attribute(attr="join"), args=[argument]):
            assert isinstance(node.func, ast.Attribute)
            return _value(node.func.value, known).join(_value(argument, known))
    return None


# ---- llhttp --------------------------------------------------------------------------------------------------------


def _llhttp_raw(text: str) -> bytes:
    """Line ends are CR LF, but for those that are escaped; what is written in escapes stands for itself."""
    text = re.sub(r"\\\n", "", text.removesuffix("\n")).replace("\n", "\r\n")
    named = {"r": "\r", "n": "\n", "t": "\t", "f": "\f"}
    text = re.sub(r"\\([rntf])", lambda found: named[found[1]], text)
    text = re.sub(r"\\x([0-9a-fA-F]+)", lambda found: chr(int(found[1], 16)), text)
    text = re.sub(r"\\([0-7]{1,3})", lambda found: chr(int(found[1], 8)), text)
    text = re.sub(r"\$\{'(.)'\.repeat\((\d+)\)\}", lambda found: found[1] * int(found[2]), text)
    assert "${" not in text
    return text.encode("latin-1", "replace") if max(map(ord, text), default=0) < 256 else text.encode()


def _llhttp_log(log: str) -> tuple[tuple[Expected, ...], bool]:
    spans = {"method": "", "url": "", "body": ""}
    requests = []
    for line in log.splitlines():
        if found := re.search(r'span\[(method|url|body)\]=(?:"(.*)"|(cr|lf))', line):
            spans[found[1]] += {"cr": "\r", "lf": "\n"}.get(found[3], found[2] or "")
        elif line.endswith("message begin"):
            spans = {"method": "", "url": "", "body": ""}
        elif line.endswith("message complete"):
            requests.append(Expected(spans["method"], spans["url"], None, spans["body"].encode()))
    # 21 and 22 are pauses.
    errors = [code for code in re.findall(r"error code=(\d+)", log) if code not in ("21", "22")]
    return tuple(requests), bool(errors)
