"""Names with versions: what this replica knows of them, and the way that each request to one of them begins.

Changes come whole: splits, adapters' pools and judges are replaced between two requests. Until anybody directs traffic
there is none of this, and requests pay one look for it.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from cluster.errors import Unavailable
from cluster.traffic import Side, Split, Traffic
from router.chat_reader import ChatReader
from router.estimate import Judge
from router.http_request import Client, Request
from router.need import need_of
from router.openai_request import ApiRequest, parse
from router.policy import AUTO, Need, Roster
from router.pools import Pools
from router.side_tally import SideTally
from router.splits import VERSION, Drawn, Splits
from router.watching import Watching
from router.way import COLD_RETRY_AFTER_S, Way
from router.who_asks import key_of

_log = logging.getLogger(__name__)


class Ways:
    """Begins the way of each request. Lives on one event loop."""

    def __init__(self, pools: Pools, chats: ChatReader, tally: SideTally, watching: Watching | None) -> None:
        """`chats` judges with stable's judge; `watching`: who wants to know what becomes of requests."""
        self.pools = pools
        self.tally = tally
        self.splits = Splits()
        self._chats = chats
        self._watching = watching
        self._judges: Mapping[str, Judge] = MappingProxyType({})
        self._judge_in_use = chats.judge

    def direct(self, traffic: Traffic) -> bool:
        """Take over a later decision; whether it was one."""
        fitting = replace(traffic, splits=_on_duty(traffic.splits, self.pools))
        if not self.splits.update(fitting):
            return False
        self.pools.direct(fitting)
        self.tally.generation = traffic.generation
        if self._watching is not None:
            self._watching.update(fitting)
        self._choose_judge()
        return True

    def begin(
        self, request: Request, api_request: ApiRequest, need: Need | None, client: Client
    ) -> tuple[Way | None, Need | None, Client]:
        """The way of a request, what it needs as its judge sees it, and whom to answer.

        No way: no name that it may go to has versions. Raises BadRequest, Unavailable.
        """
        name = api_request.model
        asked = request.headers.get(VERSION)
        splits, way, watching = self.splits, None, self._watching
        pinned = None
        # Of a name that nobody knows the choice of the model tells.
        if asked is not None and (name in splits or name in self.pools or name == AUTO):
            pinned = splits.pinned(name, asked)
        if name in splits or (name == AUTO and splits):
            is_drawn = splits.is_any_watched if name == AUTO else splits.is_watched(name)
            key = key_of(api_request, request.body) if is_drawn and pinned is None else None
            judged = None
            if need is not None:
                judged, need = self._judge(pinned or splits.draw(AUTO, key), api_request, request.body, need)
            way = Way(self, key, pinned, judged)
        # What somebody tries by hand weighs in no comparison.
        if watching is not None and asked is None:
            watched = watching.client_for(request, api_request, need, client)
            if watched is not None:
                client = watched
                if way is not None:
                    way.watched = watched
        return way, need, client

    def wanted(self, served_name: str) -> None:
        """A request asks for an adapter."""
        if self._watching is not None:
            self._watching.wanted(served_name)

    # ---- names -----------------------------------------------------------------------------------------------------

    def roster(self, before: Roster) -> Roster:
        """Those whom a caller may ask for now."""
        names = {
            split.name: split.stable.pool
            for split in self.splits.all
            if split.name != AUTO and split.name not in self.pools
        }
        return Roster(before.candidates, names)

    def not_ready(self, now_s: float) -> list[str]:
        """The sides that cannot answer now, for people."""
        told = []
        for split in self.splits.all:
            for side in (split.stable, split.canary):
                if side is None:
                    continue
                pool = self.pools.find(side.served_name)
                if split.name == AUTO:
                    if self._judge_of(side) is None:
                        told.append(f"{split.name} version {side.version}: its judge is not loaded")
                elif pool is None or not pool.is_ready(now_s):
                    told.append(f"{split.name} version {side.version}: {'gone' if pool is None else pool.state}")
        return told

    # ---- judges ----------------------------------------------------------------------------------------------------

    def use(self, judge: Judge) -> None:
        """Judge with another one wherever no version says otherwise."""
        self._judge_in_use = judge
        self._choose_judge()

    def have(self, judges: Mapping[str, Judge]) -> None:
        """The judges of versions that are loaded now, by path."""
        self._judges = judges
        self._choose_judge()

    def _judge_of(self, side: Side) -> Judge | None:
        """None while its file is not loaded."""
        return self._judges.get(side.judge) if side.judge else self._judge_in_use

    def _choose_judge(self) -> None:
        stable = self.splits.stable(AUTO)
        self._chats.judge = (None if stable is None else self._judge_of(stable.side)) or self._judge_in_use

    def _judge(self, drawn: Drawn | None, api_request: ApiRequest, raw: bytes, need: Need) -> tuple[Drawn | None, Need]:
        """Which judge counts for a question, and what it says; stable's has read it already."""
        if drawn is None:
            return None, need
        judge, chats = self._judge_of(drawn.side), self._chats
        if judge is None:
            if drawn.is_canary and drawn.is_recorded:
                return self.splits.stable(AUTO), need
            if drawn.is_canary:
                raise Unavailable(f"The judge of version {drawn.side.version} is not loaded now.", COLD_RETRY_AFTER_S)
            # Stable's own is missing: the one in use has judged, and that is no evidence for anybody.
            return drawn._replace(is_recorded=False), need
        if judge is chats.judge:
            return drawn, need
        return drawn, _judged_again(judge, chats, api_request, raw)


def _judged_again(judge: Judge, chats: ChatReader, api_request: ApiRequest, raw: bytes) -> Need:
    body = api_request.body
    if body is None:
        usual, chats.judge = chats.judge, judge
        try:
            read = chats.read(raw)
        finally:
            chats.judge = usual
        if read is not None and read[1] is not None:
            return read[1]
        body = parse(api_request.route, raw).body
        assert body is not None
    return need_of(api_request.route, body, judge)


def _on_duty(splits: tuple[Split, ...], pools: Pools) -> tuple[Split, ...]:
    """The splits whose sides can be found here; a canary without a pool gets nothing."""
    fitting = []
    for split in splits:
        canary = split.canary
        if split.name != AUTO and split.stable.pool not in pools:
            _log.error("the split of %s names the model %s, which has no pool here", split.name, split.stable.pool)
            continue
        if split.name != AUTO and canary is not None and canary.pool not in pools:
            _log.error("the canary of %s names the model %s, which has no pool here", split.name, canary.pool)
            split = replace(split, canary=None, canary_ratio=0.0, shadow_ratio=0.0)
        fitting.append(split)
    return tuple(fitting)
