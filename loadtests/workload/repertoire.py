"""All that people may ask, sorted so that one thing is drawn by language and difficulty."""

from statistics import fmean

from loadtests.plan import Kind, Plan
from loadtests.workload.asked_questions import Prepared, prepared
from loadtests.workload.body import Body
from loadtests.workload.cells import Cell, Cells
from loadtests.workload.consistent import has_only_made_up, single_shares
from loadtests.workload.dialogues import Conversation, load_dialogues, turns_of
from loadtests.workload.errands import Agent, load_errands
from loadtests.workload.shares import Draw, crossed

# Of an agent; every model has its own, and the figure is corrected by what is seen.
_EXPECTED_ROUNDS = 2.0


class Repertoire:
    """What is of no use to the plan is not read."""

    def __init__(self, plan: Plan, body: Body) -> None:
        """Raises UserError where the plan draws something that is not there."""
        work = plan.workload
        kinds = set() if has_only_made_up(plan) else {kind for kind, share in work.kinds.items() if share}
        self.cells: Draw[Cell] = Draw(
            crossed(work.languages, work.difficulty), "workload.languages or workload.difficulty"
        )
        wanted = self.cells.things
        self.questions = prepared(plan, body) if single_shares(plan).keys() & kinds else ()
        # In order, each question is asked, whatever the shares say.
        drawn = wanted if self.questions and not work.in_order else ()
        self._questions = Cells(self.questions, drawn, f"the questions in {work.questions or 'our own file'}")
        dialogues = load_dialogues() if "conversation" in kinds else ()
        self._dialogues = Cells(dialogues, wanted if dialogues else (), "our dialogues")
        errands = load_errands() if "agent" in kinds else ()
        self._errands = Cells(errands, wanted if errands else (), "our errands")
        self._most_turns = work.max_turns
        self.expected_turns: dict[Kind, float] = {}
        """Of the kinds that may have more than one."""
        if dialogues:
            self.expected_turns["conversation"] = fmean(turns_of(one, work.max_turns) for one in dialogues)
        if errands:
            self.expected_turns["agent"] = _EXPECTED_ROUNDS

    def question(self, cell: Cell, pick: float) -> Prepared:
        """A single question; `pick`, 0 to 1, decides which."""
        return self._questions.pick(cell, pick)

    def talking(self, kind: Kind, cell: Cell, pick: float) -> Conversation | Agent:
        """A new conversation, or a new errand."""
        if kind == "agent":
            return Agent(self._errands.pick(cell, pick), self._most_turns)
        return Conversation(self._dialogues.pick(cell, pick), self._most_turns)
