"""Every error that we raise on purpose, in one tree.

    FenzhenError
    ├── UserError            what was asked for cannot be done as written; the sentence says what to mend
    │   ├── BadRequest       400: names the field
    │   ├── NotFound         404: says what exists
    │   └── TooLarge         413: says the limit
    ├── Unavailable          503: not now; says when to come back
    │   └── TimedOut         504: a wait ended
    └── OurFault             500: a bug or a broken part of ours

Only the edges translate: `router.ingress` into HTTP, `fenzhen` into exit codes.
"""


class FenzhenError(Exception):
    """Root of the tree. `str(error)` is one sentence for a person."""


class UserError(FenzhenError):
    """The caller can mend this."""


class BadRequest(UserError):
    """A field of a request is missing or wrong. `field` is its name as OpenAI's `param`."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFound(UserError):
    """The thing named does not exist; the message says which do."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class TooLarge(UserError):
    """A request is larger than the configured limit."""


class Unavailable(FenzhenError):
    """Nobody can do this now; `retry_after_s` says when it is worth asking again."""

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TimedOut(Unavailable):
    """Something did not answer within its time-out."""


class OurFault(FenzhenError):
    """A part of ours is broken."""
