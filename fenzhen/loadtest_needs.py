"""Whether the packages that load tests need are installed."""

import importlib.util
from typing import Final

from cluster.errors import UserError

_NEEDED: Final = ("locust", "matplotlib", "jinja2")


def require_packages() -> None:
    """Refuse to begin without them, in one sentence. Raises UserError."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"load tests need packages that are not installed here: {', '.join(missing)}; `make setup-loadtest`"
        )
