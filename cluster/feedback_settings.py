"""The section of `fenzhen.yaml` about what people say of answers, and the grades of data that it goes by."""

from typing import Final, Literal, get_args

from pydantic import Field, field_validator

from cluster.closed import Closed
from cluster.release_settings import StoreUri
from cluster.store_uri import database_uri_of, require_no_password

Grade = Literal["public", "internal", "confidential", "secret"]
GRADES: Final[tuple[Grade, ...]] = get_args(Grade)
"""How far data may travel, the least protected first."""
URI_VARIABLE: Final = "FENZHEN_FEEDBACK_URI"
_DAY_S: Final = 86_400


class Feedback(Closed):
    """What is kept of questions and answers, so that people can judge them and models learn from it."""

    keep_ratio: float = Field(
        default=0,
        ge=0,
        le=1,
        description="Share of the chats whose question and answer are kept, masked, so that feedback can be given on "
        "them. 0: nothing is kept, no file is made, and `POST /v1/feedback` answers 404.",
    )
    keep_s: float = Field(
        default=7 * _DAY_S, ge=60, description="What nobody has judged, or not consented to, is erased after so long."
    )
    learn_s: float = Field(
        default=180 * _DAY_S,
        ge=60,
        description="What was judged with consent to learn from it is erased after so long.",
    )
    max_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=64 * 1024,
        description="All kept texts together. Beyond it the oldest are erased, those without consent first.",
    )
    max_question_bytes: int = Field(
        default=32 * 1024, gt=0, description="Larger requests are not kept: masking takes a millisecond a kilobyte."
    )
    max_answer_bytes: int = Field(
        default=256 * 1024, gt=0, description="Longer answers, as they are sent, are not kept."
    )
    max_grade: Grade = Field(
        default="internal", description="Data of a higher grade is never kept, nor made into rows if it was."
    )
    default_grade: Grade = Field(
        default="internal", description="Of a request that does not say its own in `x-fenzhen-grade`."
    )
    uri: StoreUri | None = Field(
        default=None,
        description="SQLAlchemy's URL of the database for it: SQLite or PostgreSQL, the latter where routers run on "
        f"several machines. Or {URI_VARIABLE} in the environment. Without either: SQLite in the state folder.",
    )

    @field_validator("uri")
    @classmethod
    def _uri(cls, value: str | None) -> str | None:
        return value and require_no_password(database_uri_of(value), URI_VARIABLE)

    def may_keep(self, grade: Grade) -> bool:
        """Whether data of this grade may be kept and learnt from."""
        return GRADES.index(grade) <= GRADES.index(self.max_grade)
