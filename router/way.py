"""One request's way to a version: the side that was drawn for it, and stable where the canary fails it.

    drawn canary --> its endpoints, one after another --> stable, whose attempts are counted anew --> its endpoints
    drawn stable --> its endpoints

The draw is made once and holds for all attempts, also when splits change meanwhile. Lives as long as its exchange and
holds no texts.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final, NamedTuple

from cluster.errors import Unavailable
from cluster.outcomes import Fault
from router.engine_request import body_for, prompted
from router.openai_request import ApiRequest
from router.pools import Pool
from router.slot import Slot
from router.splits import VERSION, Drawn

if TYPE_CHECKING:
    from router.watched import Watched
    from router.ways import Ways

# Loading an adapter takes an engine a second or two, once it has been asked for.
COLD_RETRY_AFTER_S: Final = 2
JUDGE_VERSION: Final = b"x-fenzhen-judge-version"
_NOT_FOUND: Final = 404
_FIRST_REFUSAL: Final = 400
_FIRST_FAILURE: Final = 500


class Aim(NamedTuple):
    """Where attempts go now."""

    name: str
    """What was asked for, or chosen."""
    pool: Pool
    model: str
    """The model whose endpoints these are."""
    served_name: str
    """What they are asked for."""
    drawn: Drawn | None
    """None: a name without versions."""


class Way:
    """Chooses where each attempt of one exchange goes."""

    __slots__ = (
        "_aim", "_has_fallen_back", "_key", "_pinned", "_was_tried", "_ways", "began_s", "judged", "watched",
    )  # fmt: skip

    def __init__(self, ways: "Ways", key: int | None, pinned: Drawn | None, judged: Drawn | None) -> None:
        """`pinned`: the side that the caller named. `judged`: which judge has read the question."""
        self._ways = ways
        self._key = key
        self._pinned = pinned
        self._aim: Aim | None = None
        self._has_fallen_back = False
        self._was_tried = False
        """Whether the side that is aimed at has had an attempt."""
        self.judged = judged
        self.watched: Watched | None = None
        self.began_s: float | None = None
        """When stable took over from the canary: its time to answer counts from then on. None: it did not."""

    # ---- before the attempt ----------------------------------------------------------------------------------------

    def aim(self, name: str) -> Aim:
        """Where the next attempt for this name goes: the same side each time. Raises Unavailable."""
        aim = self._aim
        if aim is None or aim.name != name or self._ways.pools.find(aim.served_name) is not aim.pool:
            # The last may happen when a split ends between two attempts: then what is in force now counts.
            self._was_tried = False
            aim = self._aim = self._new_aim(name)
        return aim

    def body(self, api_request: ApiRequest, raw: bytes) -> bytes:
        """The request as this side's engines get it. Raises BadRequest."""
        aim = self._aim
        assert aim is not None
        # A prompt is for chats: who completes a text or embeds one means just that text.
        if aim.drawn is not None and aim.drawn.side.prompt and api_request.route == "chat":
            return prompted(aim.drawn.side.prompt, aim.served_name, api_request, raw)
        return body_for(aim.served_name, api_request, raw)

    def is_ready(self, name: str, now_s: float, tried: Collection[Slot]) -> bool:
        """Whether `auto` may choose this name: its stable version can answer, as it may have to."""
        stable = self._ways.splits.stable(name)
        served_name = name if stable is None else stable.side.served_name
        pool = self._ways.pools.find(served_name)
        # Behind the canary stable comes with all of its endpoints, those included that the canary has failed on.
        is_ready = pool is not None and pool.is_ready(now_s, () if self.may_fall_back else tried)
        if not is_ready and pool is not None and pool.is_cold:
            self._ways.wanted(served_name)
        return is_ready

    def nobody(self, now_s: float, why_lost: str) -> Unavailable:
        """What to say where no endpoint can take it."""
        aim = self._aim
        assert aim is not None
        if not self._was_tried:
            self.chosen()
        if aim.pool.is_cold and aim.drawn is not None:
            version = aim.drawn.side.version
            return Unavailable(
                f"Version {version} of {aim.name} is not loaded now; it is being asked for, so try again shortly.",
                COLD_RETRY_AFTER_S,
            )
        return Unavailable(
            f"The model {aim.name} cannot answer now ({why_lost or aim.pool.state}).", aim.pool.retry_after_s(now_s)
        )

    def chosen(self) -> None:
        """The attempt begins: whoever watches hears where."""
        watched, aim = self.watched, self._aim
        self._was_tried = True
        if watched is None or aim is None:
            return
        if self.judged is not None:
            watched.chosen(self.judged, aim.model)
        if aim.drawn is not None:
            watched.chosen(aim.drawn, aim.model)

    # ---- after the attempt -----------------------------------------------------------------------------------------

    @property
    def may_fall_back(self) -> bool:
        """Whether it is on the canary, and stable may take over. Whoever named the canary wants no other."""
        aim = self._aim
        return aim is not None and aim.drawn is not None and aim.drawn.is_canary and self._pinned is None

    @property
    def spares_endpoint(self) -> bool:
        """Whether a bad answer is the version's own fault: the endpoint may serve stable as well as ever."""
        aim = self._aim
        return aim is not None and aim.drawn is not None and aim.drawn.is_canary

    def is_refusal(self, status: int) -> bool:
        """Whether this answer of an engine, though none of its failures, should not be the caller's yet."""
        return self.gives_up(status) or self._is_unloaded(status)

    def gives_up(self, status: int) -> bool:
        """Whether the canary refuses the request as it is: stable has the last word, no other endpoint is asked."""
        return _FIRST_REFUSAL <= status < _FIRST_FAILURE and self.may_fall_back and not self._is_unloaded(status)

    def _is_unloaded(self, status: int) -> bool:
        """Whether the adapter has gone since its engine last reported."""
        aim = self._aim
        return status == _NOT_FOUND and aim is not None and aim.served_name != aim.model

    def failed(self, fault: Fault) -> None:
        """The attempt failed before its first byte, or took too long behind it."""
        if self.watched is not None:
            self.watched.failed(fault)

    def falls_back(self, now_s: float) -> bool:
        """The canary is given up and stable takes over, if that is possible: once for a request."""
        if not self.may_fall_back:
            return False
        aim = self._aim
        assert aim is not None
        if not self._was_tried:
            # It had no endpoint to try: that is a failure as well.
            self.chosen()
            self.failed("error")
        self._ways.tally.fell_back(aim.name)
        self._aim = None
        self._has_fallen_back = True
        self.began_s = now_s
        return True

    def gone(self) -> None:
        """The caller has hung up."""
        if self.watched is not None:
            self.watched.gone()

    @property
    def lines(self) -> bytes:
        """The answer's header lines that say which version it is from."""
        drawn = None if self._aim is None else self._aim.drawn
        said = b"" if drawn is None else b"%b: %d\r\n" % (VERSION, drawn.side.version)
        if self.judged is not None:
            said += b"%b: %d\r\n" % (JUDGE_VERSION, self.judged.side.version)
        return said

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _new_aim(self, name: str) -> Aim:
        ways = self._ways
        drawn = self._drawn(name)
        if drawn is None:
            pool = ways.pools.find(name)
            if pool is None:
                raise Unavailable(f"Versions of {name} are being changed; try again shortly.", COLD_RETRY_AFTER_S)
            return Aim(name, pool, name, name, None)
        side = drawn.side
        # What is on duty has been made sure of when the splits came.
        pool = ways.pools.of(side.served_name)
        ways.tally.went(name, drawn.is_canary)
        if side.served_name != side.pool:
            ways.wanted(side.served_name)
        return Aim(name, pool, side.pool, side.served_name, drawn)

    def _drawn(self, name: str) -> Drawn | None:
        splits = self._ways.splits
        if self._has_fallen_back:
            return splits.stable(name)
        pinned = self._pinned
        if pinned is not None and pinned.split.name == name and self._ways.pools.find(pinned.side.served_name):
            return pinned
        return splits.draw(name, self._key)
