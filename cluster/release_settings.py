"""The sections of `fenzhen.yaml` about versions and how they are let in."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, PlainSerializer, field_validator, model_validator

from cluster.closed import Closed
from cluster.store_uri import database_uri_of, require_no_password, tracking_uri_of, without_password

# What comes from the environment may hold a password. Settings are printed, compared and handed on as files: there it
# is left out, and whoever reads such a file asks the environment again.
StoreUri = Annotated[str, PlainSerializer(without_password)]


class Registry(Closed):
    """Where versions and rollouts are kept."""

    tracking_uri: StoreUri | None = Field(
        default=None,
        description="MLflow's store: `sqlite:////FOLDER/FILE`, `postgresql+psycopg://USER@HOST/DATABASE`, or the "
        "address of an MLflow server. Or FENZHEN_TRACKING_URI in the environment, where it may hold a password. "
        "Without either: SQLite in the state folder.",
    )
    artifacts: str | None = Field(
        default=None,
        description="Where new versions' files go: a folder, the same on every machine, or `s3://BUCKET/PREFIX`; an "
        "MLflow server decides by itself. Without it: the state folder.",
    )
    rollouts_uri: StoreUri | None = Field(
        default=None,
        description="SQLAlchemy's URL of the database that holds the state of rollouts: SQLite or PostgreSQL. Or "
        "FENZHEN_ROLLOUTS_URI in the environment. Without either: SQLite in the state folder.",
    )
    timeout_s: float = Field(
        default=10,
        ge=1,
        le=300,
        description="A registry that takes longer to answer counts as down; a file may take a second a megabyte more.",
    )

    @field_validator("tracking_uri")
    @classmethod
    def _tracking_uri(cls, value: str | None) -> str | None:
        return value and require_no_password(tracking_uri_of(value), "FENZHEN_TRACKING_URI")

    @field_validator("rollouts_uri")
    @classmethod
    def _rollouts_uri(cls, value: str | None) -> str | None:
        return value and require_no_password(database_uri_of(value), "FENZHEN_ROLLOUTS_URI")

    @field_validator("artifacts")
    @classmethod
    def _artifacts(cls, value: str | None) -> str | None:
        if value is None or re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#]*)?", value):
            return value and value.rstrip("/")
        folder = Path(value).expanduser()
        if "://" in value or not folder.is_absolute():
            raise ValueError(f"must be an absolute folder or s3://BUCKET/PREFIX, got {value!r}")
        return str(folder)

    @model_validator(mode="after")
    def _a_server_has_its_own(self) -> "Registry":
        if self.artifacts and (self.tracking_uri or "").startswith("http"):
            raise ValueError("artifacts: an MLflow server decides by itself where files go; take this key out")
        return self


class Thresholds(Closed):
    """When the judge of rollouts rolls back, promotes or asks a person. `docs/rollout-judge.md` says how."""

    alpha: float = Field(
        default=0.01,
        gt=0,
        le=0.2,
        description="Probability, over a whole rollout and all metrics, that a version which harms nobody is rolled "
        "back. Lower needs more requests: about 1.3 times as many from 0.01 to 0.001.",
    )
    confidence_ratio: float = Field(
        default=0.95,
        ge=0.5,
        lt=1,
        description="How sure it must be that a metric lies within its margin before a version goes on, each metric by "
        "itself and in each step anew.",
    )
    min_requests: int = Field(
        default=200,
        ge=1,
        description="Requests that each side must have answered in a step, like beside like, before a version goes on. "
        "Fewer cannot show a fault of 1 in 50.",
    )
    harmless_rise_ratio: float = Field(
        default=0.05,
        ge=0,
        description="Shares of errors, refusals and the like that rise by so much of themselves roll nothing back, "
        "however sure it is.",
    )
    harmless_faults_ratio: float = Field(
        default=0.0005,
        ge=0,
        lt=0.5,
        description="Of all requests: so many more errors, time-outs, empty or malformed answers, on top of the rise, "
        "roll nothing back. 0.0005 lets 1 % become 1.1 %.",
    )
    harmless_habits_ratio: float = Field(
        default=0.02,
        ge=0,
        lt=0.5,
        description="The same for answers cut off, refusals and questions handed on to a larger model: a new version "
        "may differ in these a little and still be the better one.",
    )
    fault_margin_ratio: float = Field(
        default=0.03,
        gt=0,
        lt=1,
        description="A version goes on when its share of faults surely lies less than this above stable's. Smaller "
        "needs many more requests: 0.01 about 1,500 on each side.",
    )
    habit_margin_ratio: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="The same for answers cut off, refused, handed on, and for the share of answers that are slower, "
        "longer, shorter or costlier than the ratios below.",
    )
    slowdown_ratio: float = Field(
        default=0.25,
        gt=0,
        description="Times to the first and between further tokens that are longer by up to this are no harm; beyond, "
        "they are. A quarter is what people begin to notice; machines differ by less from hour to hour.",
    )
    cost_rise_ratio: float = Field(default=0.25, gt=0, description="The same for what an answer costs.")
    length_change_ratio: float = Field(
        default=1.0,
        gt=0,
        description="Answers may become longer by this, or shorter to the same degree: 1.0 means twice or half.",
    )
    quality_margin_ratio: float = Field(
        default=0.1,
        gt=0,
        lt=0.5,
        description="Of pairs of answers to one question, the canary's must be better or as good in at least 0.5 less "
        "this; surely below, it is rolled back.",
    )
    group_deviation_ratio: float = Field(
        default=0.15,
        gt=0,
        lt=1,
        description="A group of users whose share of good answers surely deviates from the mean by more than this, of "
        "the mean, asks for a person.",
    )


class DriftSettings(Closed):
    """When questions and answers count as changed since a version came on duty."""

    window_s: float = Field(
        default=86400,
        ge=60,
        description="What is compared: so much time with the first such time of the version. A day, since mornings and "
        "nights differ; where weekends do, seven.",
    )
    min_requests: int = Field(
        default=1000,
        ge=50,
        description="A window with fewer requests goes on until it has them. Fewer show only changes of everything.",
    )
    alpha: float = Field(
        default=0.01,
        gt=0,
        le=0.2,
        description="Probability of an alert without any change, over all windows of a version's life.",
    )


class Rollouts(Closed):
    """How a new version is compared and let in."""

    lease_s: float = Field(
        default=5,
        ge=1,
        description="One controller moves rollouts. When it falls silent for so long, another takes over.",
    )
    alert_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="On this port of the loopback address Alertmanager can roll a version back (`/v1/alerts`), and "
        "Prometheus read how rollouts fare (`/metrics`). Without it nothing listens.",
    )
    alert_token_file: Path | None = Field(
        default=None,
        description="Holds the token that Alertmanager must show; nobody but its owner may read it. Or "
        "FENZHEN_ALERT_TOKEN in the environment. Needed with `alert_port`.",
    )
    drift_ratio: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of all requests that are counted for the watch over drift: lengths, languages, character "
        "pairs and kinds of failure; no text is kept. Each replica counts twenty a second at most. 0: nothing is "
        "watched.",
    )
    shadow_below_ratio: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="A pool that carries more than this share of what makes it full (`busy_in_flight`) is asked no "
        "copies of requests: callers go first.",
    )
    shadow_max_in_flight: int = Field(
        default=4, ge=1, le=256, description="Copies that one router replica asks at the same moment."
    )
    shadow_max_queue: int = Field(
        default=64, ge=1, le=1024, description="So many more may wait in a replica; what comes beyond that is dropped."
    )
    shadow_timeout_s: float = Field(
        default=120, gt=0, description="A copy that is not answered by then has timed out, and counts as that."
    )
    quality_ratio: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of the copies whose answer `judging.judge_model` compares with the one that the caller got. "
        "Without such a model none are.",
    )
    judge: Thresholds = Field(default=Thresholds(), description="When a version is rolled back or goes on: below.")
    drift: DriftSettings = Field(default=DriftSettings(), description="When a drift of requests is told: below.")

    @field_validator("alert_token_file")
    @classmethod
    def _expand_home(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()
