"""`fenzhen up`: checks, models, then the stack, in that order, each step said."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import click

from cluster.checks import doctor
from cluster.errors import Unavailable, UserError
from cluster.settings import Settings
from cluster.stack_state import StackState, read_state
from fenzhen.doctor import present_models
from fenzhen.options import config_options, load
from fenzhen.output import Output
from fenzhen.progress import reporter
from fenzhen.stack_view import StackView
from fenzhen.stopping import stop_stack
from fenzhen.supervisor import Plan
from registry.disk import read_ahead
from registry.store import ModelStore, StoredModel
from serving.args_check import check_pools

# Often enough to look alive, seldom enough to cost nothing.
_LOOK_S: Final = 0.3
# How much of a dead supervisor's log is shown.
_LAST_LINES: Final = 5


@click.command()
@config_options
@click.option("--detach", is_flag=True, help="Return when everything is ready; `fenzhen down` stops it.")
def up(config: Path | None, profile_name: str | None, detach: bool) -> None:
    """Start the models and the router on this machine.

    Checks the machine, fetches models that are not there yet, starts Ray, the engines and the router, and says when the
    address is ready. Without --detach it stays and Ctrl-C stops everything.
    """
    settings, label = load(config, profile_name)
    output = Output()
    state_dir = settings.site.state_dir
    (state_dir / "logs").mkdir(parents=True, exist_ok=True)
    running = read_state(state_dir)
    if running is not None and running.is_alive:
        if running.phase != "ready":
            raise Unavailable(f"a stack is here already and is {running.phase}: {running.message}")
        output.say(f"Already running at {running.base_url}/v1 ({running.settings_from}).")
        return
    output.say(f"Configuration: {label}")
    _stop_at_failures(settings, output)
    if settings.engine_pools:
        asyncio.run(check_pools(settings))
        output.say("Checked: vLLM accepts every pool's options.")
    stored = _models(settings, output)
    plan = Plan(
        settings=settings,
        settings_from=label,
        folders={name: model.folder for name, model in stored.items()},
        origins={name: model.origin for name, model in stored.items()}
        | {pool.model: "with servers that run already" for pool in settings.external_pools},
    )
    for model in stored.values():
        # Engines import for ten seconds before they read a byte: a cold disk can use that time.
        read_ahead(model.folder)
    supervisor = _spawn(plan)
    try:
        state = _wait_ready(plan, supervisor, output)
    except KeyboardInterrupt:
        output.say("Interrupted: stopping what has been started.")
        stop_stack(state_dir, output)
        raise
    output.say(f'Ready: {state.base_url}/v1 speaks the OpenAI API; ask for the model "auto".')
    if not detach:
        output.say("Ctrl-C stops everything.")
        _stay(plan, supervisor, output)


def _stop_at_failures(settings: Settings, output: Output) -> None:
    findings = doctor(settings, present_models(settings, output))
    for finding in findings:
        if finding.verdict != "ok" and not (finding.name == "model files" and finding.verdict == "warn"):
            output.say(
                f"{finding.verdict}: {finding.name}: {finding.fact}"
                + (f" → {finding.remedy}" if finding.remedy else "")
            )
    failed = [finding.name for finding in findings if finding.verdict == "fail"]
    if failed:
        raise UserError(f"this machine is not ready ({', '.join(failed)}); `fenzhen doctor` shows all checks")
    output.say(f"Checked: {len(findings)} checks, none failed.")


def _models(settings: Settings, output: Output) -> dict[str, StoredModel]:
    stored: dict[str, StoredModel] = {}
    with reporter(output.progress) as progress:
        store = ModelStore(settings.site.models_dir, settings.site.hub_timeout_s, progress)
        for model in settings.engine_models:
            stored[model.name] = store.fetch(model)
    for name, found in stored.items():
        output.say(f"Model {name}: {found.origin}")
    return stored


def _spawn(plan: Plan) -> subprocess.Popen[bytes]:
    """Start the supervisor in a session of its own, so that a closed terminal does not take it along."""
    state_dir = plan.settings.site.state_dir
    plan_path = state_dir / "plan.json"
    plan_path.write_text(plan.model_dump_json(indent=1), encoding="utf-8")
    with (plan.log_dir / "supervisor.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "fenzhen.supervisor", str(plan_path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait_ready(plan: Plan, supervisor: subprocess.Popen[bytes], output: Output) -> StackState:
    """Show how it goes until all is ready. Raises Unavailable if the start fails.

    No time-out of its own: each pool has one (`ready_timeout_s`, or `first_answer_timeout_s` where the servers run
    already), after which the supervisor gives up.
    """
    with StackView(output.progress) as view:
        while True:
            state = read_state(plan.settings.site.state_dir)
            if state is not None and state.pid == supervisor.pid:
                view.show(state)
                if state.phase == "ready":
                    return state
                if state.phase == "failed":
                    supervisor.wait()
                    raise Unavailable(f"the start failed: {state.message}; the logs are in {state.log_dir}")
            if supervisor.poll() is not None:
                log = plan.log_dir / "supervisor.log"
                words = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:])
                raise Unavailable(f"the supervisor ended with status {supervisor.returncode}; its last words:\n{words}")
            time.sleep(_LOOK_S)


def _stay(plan: Plan, supervisor: subprocess.Popen[bytes], output: Output) -> None:
    try:
        status = supervisor.wait()
    except KeyboardInterrupt:
        stop_stack(plan.settings.site.state_dir, output)
        return
    # Somebody else has stopped it (`fenzhen down` does), or it has failed.
    if status != 0:
        raise Unavailable(f"the stack has ended with status {status}; the logs are in {plan.log_dir}")
