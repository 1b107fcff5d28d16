"""Load by Locust: `locust -f loadtests/locustfile.py --host http://127.0.0.1:8000`, or `fenzhen loadtest run`.

People of four kinds ask our questions; `--plan FILE` says which, and whose. With `--stages` nobody is spawned by -u and
-r: the plan's own stages are sent, each arrival at its moment. That is how `fenzhen loadtest run` uses it.
Rows: the whole answer as `stream easy`, `agent hard`, ..., its first token as TTFT and its pace as TPOT of these names.
Importing locust replaces the standard library's sockets (gevent), so no other module may import this one.
"""

import os
import resource
import sys
from typing import Any

import gevent
from locust import User, events, tag, task
from locust.exception import CatchResponseError, StopTest

from cluster.errors import FenzhenError, UserError
from loadtests.asking.desk import Desk, Visit
from loadtests.asking.stages import Stages
from loadtests.keys import keys_of
from loadtests.plan import Kind, Limits, People, Plan, Stage, Target, Workload
from loadtests.plan_file import read_plan
from loadtests.records.sample import Sample

DEFAULT_HOST = "http://127.0.0.1:8000"
# A person at a counter thinks for a moment.
THINK_S = (0.5, 2.0)
# A hard question on a CPU may wait for minutes.
TIMEOUT_S = 300.0
STARTED_IN = os.getpid()


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # Here and below: locust has no types.
def add_arguments(parser: Any) -> None:
    """Our options, beside locust's own."""
    group = parser.add_argument_group("Fenzhen")
    group.add_argument("--plan", env_var="FENZHEN_LOAD_PLAN", metavar="FILE", help="What is asked, and whose it is")
    group.add_argument(
        "--fz-model",
        env_var="FENZHEN_LOAD_MODEL",
        metavar="NAME",
        help="The model asked for [default: as the plan says]",
    )
    group.add_argument(
        "--fz-max-tokens", env_var="FENZHEN_LOAD_MAX_TOKENS", type=int, metavar="N", help="Of an answer [default: 64]"
    )
    group.add_argument("--stages", action="store_true", help="Send the plan's own stages; -u, -r and -t do nothing")
    group.add_argument("--fz-folder", metavar="FOLDER", help="Of a run that `fenzhen loadtest run` has begun")


@events.init.add_listener  # type: ignore[untyped-decorator]
def prepare(environment: Any, runner: Any, **_: object) -> None:
    """Decide how this process is driven."""
    _allow_open_files()
    try:
        environment.fenzhen = _stages(environment, runner) if environment.parsed_options.stages else _Free(environment)
    except UserError as error:
        sys.exit(f"Error: {error}")


class Person(User):  # type: ignore[misc]
    """Asks, reads the answer as it comes, thinks for a moment, and goes on."""

    abstract = True
    host = DEFAULT_HOST
    kind: Kind

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        try:
            self._visit = Visit(environment.fenzhen.desk(self.host), self.kind)
        except FenzhenError as error:
            environment.process_exit_code = 1
            raise StopTest(str(error)) from None
        self._think_s = 0.0

    def wait_time(self) -> float:
        """As long as the person thinks, seconds."""
        return self._think_s

    def ask_once(self) -> None:
        """One request and its answer."""
        self._think_s = self._visit.ask()


class Chat(Person):
    """One question, the answer all at once."""

    kind = "chat"

    @tag("chat")  # type: ignore[untyped-decorator]
    @task  # type: ignore[untyped-decorator]
    def ask(self) -> None:
        """Ask."""
        self.ask_once()


class Stream(Person):
    """One question, the answer word by word."""

    kind = "stream"

    @tag("stream")  # type: ignore[untyped-decorator]
    @task  # type: ignore[untyped-decorator]
    def ask(self) -> None:
        """Ask."""
        self.ask_once()


class Conversation(Person):
    """Several turns, each with all that was said before."""

    kind = "conversation"

    @tag("conversation")  # type: ignore[untyped-decorator]
    @task  # type: ignore[untyped-decorator]
    def ask(self) -> None:
        """Take the next turn."""
        self.ask_once()


class Agent(Person):
    """An errand with tools that the model may call."""

    kind = "agent"

    @tag("agent")  # type: ignore[untyped-decorator]
    @task  # type: ignore[untyped-decorator]
    def ask(self) -> None:
        """Ask, or tell what a tool has said."""
        self.ask_once()


class Scheduled(User):  # type: ignore[misc]
    """Stands for a worker while a plan's stages run: locust wants somebody to be there."""

    abstract = True

    @task  # type: ignore[untyped-decorator]
    def be_there(self) -> None:
        """The load is sent beside the users, by `loadtests.asking.conductor`."""
        gevent.sleep(3600)


class _Free:
    """People are spawned by locust: -u, -r, -t, the web page."""

    def __init__(self, environment: Any) -> None:
        """Raises UserError for a plan that cannot be used."""
        self._environment = environment
        self._desk: Desk | None = None
        self._desk_host = ""
        options = environment.parsed_options
        # A worker gets plan and model from its master, with the order to begin.
        if not options.worker:
            plan = _plan_of(options)
            keys_of(plan, os.environ)
            # Whoever is named comes, also where the plan has none of that kind.
            least = 1.0 if options.user_classes or options.tags or options.class_picker else 0.0
            # Users that somebody has derived from ours, in a file of their own, keep their weights.
            for user in {*environment.user_classes} & {Chat, Stream, Conversation, Agent}:
                user.weight = plan.workload.kinds.get(user.kind, 0.0) or least
            wanted, unwanted = {*(options.tags or ())}, {*(options.exclude_tags or ())}
            environment.user_classes[:] = [
                user for user in environment.user_classes if user.weight > 0 and _is_tagged(user, wanted, unwanted)
            ]
            if not environment.user_classes:
                raise UserError("nobody is left to ask: the classes, tags and the plan's kinds exclude each other")
        environment.events.test_stop.add_listener(self._close)
        # Locust prints its sentence; gevent would print a trace before it.
        gevent.get_hub().NOT_ERROR += (StopTest,)

    def desk(self, host: str) -> Desk:
        """Where to ask. Raises UserError."""
        if self._desk is None or self._desk_host != host:
            self._close()
            options, runner = self._environment.parsed_options, self._environment.runner
            plan = _plan_of(options)
            worker = max(runner.worker_index, 0)
            self._desk = Desk(plan, host, keys_of(plan, os.environ), worker, lambda one: fire(self._environment, one))
            self._desk_host = host
        return self._desk

    def _close(self, **_: object) -> None:
        if self._desk is not None:
            self._desk.close()
            self._desk = None


def _stages(environment: Any, runner: Any) -> Stages:
    """A plan's stages are sent, by this process or by its workers. Raises UserError for a plan that cannot be used."""
    environment.user_classes[:] = [Scheduled]
    environment.available_user_classes = {Scheduled.__name__: Scheduled}
    environment.available_user_tasks = {Scheduled.__name__: Scheduled.tasks}
    options = environment.parsed_options
    # A locust.conf of this machine must not end a plan before its time.
    options.run_time = None
    stages = Stages(environment, runner, lambda sample: fire(environment, sample))
    if options.worker:
        if os.getpid() != STARTED_IN:
            gevent.spawn(stages.end_with, os.getppid())
    else:
        plan = _plan_of(options)
        stages.lead(plan, plan.target.url or DEFAULT_HOST, options.fz_folder)
    return stages


def fire(environment: Any, sample: Sample) -> None:
    """Tell locust of one request: up to three rows, milliseconds."""
    name = f"{sample.kind} {sample.difficulty}".rstrip()
    error = CatchResponseError(sample.error) if sample.error else None
    rows = [("POST", sample.e2e_s, error)]
    if error is None and sample.kind != "chat":
        rows += [("TTFT", sample.ttft_s, None)]
        if sample.tpot_s is not None:
            rows += [("TPOT", sample.tpot_s, None)]
    for kind, seconds, exception in rows:
        environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=None if seconds is None else seconds * 1000,
            response_length=0,
            exception=exception,
            context={},
        )


def _plan_of(options: Any) -> Plan:
    """The plan that is asked for, with what the command line says otherwise. Raises UserError."""
    if options.plan:
        plan = read_plan(options.plan)
    elif options.stages:
        raise UserError("--stages needs --plan FILE: a plan says what is sent when")
    else:
        plan = Plan(
            target=Target(), workload=Workload(max_tokens=64, think_s=THINK_S), limits=Limits(timeout_s=TIMEOUT_S),
            stages=(Stage(name="free", seconds=1, people=People(count=1)),),
        )  # fmt: skip
    if options.fz_model:
        plan = plan.model_copy(update={"target": plan.target.model_copy(update={"model": options.fz_model})})
    if options.fz_max_tokens:
        workload = plan.workload.model_copy(update={"max_tokens": options.fz_max_tokens})
        plan = plan.model_copy(update={"workload": workload})
    return plan


def _is_tagged(user: Any, wanted: set[str], unwanted: set[str]) -> bool:
    """Whether locust's --tags and --exclude-tags leave any task of a class."""
    tags: list[set[str]] = [getattr(one, "locust_tag_set", set()) for one in user.tasks]
    return any((not wanted or wanted & own) and not unwanted & own for own in tags)


def _allow_open_files() -> None:
    """As many as the system lets us: a connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
