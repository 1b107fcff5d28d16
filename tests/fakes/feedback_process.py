"""A router that takes feedback, as a process to be killed: `python -m tests.fakes.feedback_process STATE_DIR`.

Serves without engines, and says its port when it listens.
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from cluster.feedback_settings import Feedback
from cluster.settings import Router as RouterSettings
from registry.feedback_store import feedback_store
from router.estimate import Judge
from router.feedback_desk import FeedbackDesk
from router.judge_file import DEFAULT, load
from router.keeping import Keeping
from router.server import RouterServer
from tests.fakes.stack import SMALL


async def serve(state_dir: Path) -> None:
    """Serve until killed."""
    feedback = Feedback(keep_ratio=1)
    server = RouterServer((SMALL,), RouterSettings(), asyncio.get_running_loop(), Judge(load(DEFAULT)))
    tally = server.metrics.feedback
    desk = FeedbackDesk(feedback_store(feedback, state_dir), feedback, tally, lambda *_: None)
    server.take_feedback(Keeping(feedback, tally), desk)
    print(await server.start(port=0), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
