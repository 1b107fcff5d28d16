"""Reads HTTP/1.1 answers of one connection, whole or in chunks, and insists that they are complete.

Made for the load client: an answer that arrives in one piece costs two searches and no copy of its head.
"""

from typing import Final

# A proxy's head or chunk line that is longer than this is no answer but a mistake.
_MAX_HEAD_BYTES: Final = 64 * 1024


class BadAnswerError(Exception):
    """What came is not an HTTP answer that has an end."""


class AnswerReader:
    """`feed` gives the body's bytes as they come; `is_complete` tells that the answer has ended."""

    __slots__ = ("_buffer", "_is_chunked", "_is_in_body", "_left", "is_complete", "keeps_alive", "status")

    def __init__(self) -> None:
        self._buffer = b""
        self._is_in_body = False
        self._is_chunked = False
        # Of the body, or of the chunk that is being read, with the line's end after a chunk.
        self._left = 0
        self.status = 0
        self.is_complete = False
        self.keeps_alive = True

    def restart(self) -> None:
        """Be ready for the next answer of the same connection."""
        self._is_in_body = False
        self.is_complete = False
        self.status = 0

    @property
    def has_begun(self) -> bool:
        """Whether any byte of the answer has come."""
        return self._is_in_body or bool(self._buffer)

    def feed(self, data: bytes) -> bytes:
        """Take what the socket gave. Raises BadAnswerError."""
        if self.is_complete:
            raise BadAnswerError("bytes after the answer's end")
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        if not self._is_in_body:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > _MAX_HEAD_BYTES:
                    raise BadAnswerError("a head without end")
                self._buffer = data
                return b""
            self._head(data[:end].lower())
            if self.status < 200:
                # An interim answer: the real one follows.
                self._is_in_body = False
                rest = data[end + 4 :]
                return self.feed(rest) if rest else b""
            data = data[end + 4 :]
        return self._chunked(data) if self._is_chunked else self._plain(data)

    def _head(self, head: bytes) -> None:
        if not head.startswith(b"http/1."):
            raise BadAnswerError("not HTTP/1")
        try:
            self.status = int(head[9:12])
        except ValueError:
            raise BadAnswerError("no status") from None
        self._is_in_body = True
        self.keeps_alive = b"\r\nconnection: close" not in head
        self._left = 0
        self._is_chunked = False
        at = head.find(b"\r\ncontent-length:")
        if at >= 0:
            end = head.find(b"\r\n", at + 2)
            self._left = int(head[at + 17 : end if end > 0 else len(head)])
        elif b"\r\ntransfer-encoding: chunked" in head:
            self._is_chunked = True
        elif self.status >= 200 and self.status not in (204, 304):
            # It would end with its connection, and a cut one could not be told from a whole one.
            raise BadAnswerError("neither content-length nor chunks")

    def _plain(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise BadAnswerError("bytes after the answer's end")
        self.is_complete = self._left == 0
        return data

    def _chunked(self, data: bytes) -> bytes:
        parts: list[bytes] = []
        at = 0
        while at < len(data) or self._left:
            if self._left:
                # With CR LF after the chunk's bytes; they are cut off again where they are seen.
                part = data[at : at + self._left]
                at += len(part)
                keep = len(part) - max(0, 2 - (self._left - len(part)))
                self._left -= len(part)
                if keep > 0:
                    parts.append(part[:keep])
                if self._left:
                    break
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._buffer = data[at:]
                if len(self._buffer) > _MAX_HEAD_BYTES:
                    raise BadAnswerError("a chunk line without end")
                break
            try:
                size = int(data[at:end].split(b";")[0], 16)
            except ValueError:
                raise BadAnswerError("a chunk without a length") from None
            if size:
                self._left = size + 2
                at = end + 2
                continue
            # The last chunk and the empty line after it; trailers are not expected of anyone here.
            if len(data) < end + 4:
                self._buffer = data[at:]
                break
            if data[end : end + 4] != b"\r\n\r\n" or len(data) > end + 4:
                raise BadAnswerError("bytes after the answer's end")
            self.is_complete = True
            break
        return parts[0] if len(parts) == 1 else b"".join(parts)
