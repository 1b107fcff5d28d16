"""What the parts of the scale benchmark have found, as it goes into its JSON file."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from loadtests.router_bench.faults import Fault
from loadtests.router_bench.growth import Growth
from loadtests.router_bench.pool_scale import Replicas, Size
from loadtests.router_bench.prompt_scale import Prompt
from loadtests.router_bench.stream_scale import Step, Waves


class Findings(BaseModel):
    """By part; None: not measured."""

    model_config = ConfigDict(extra="forbid")

    streams_2000: Waves | None = None
    streams: list[Step] | None = None
    prompts: list[Prompt] | None = None
    sizes: list[Size] | None = None
    replicas: list[Replicas] | None = None
    growth: Growth | None = None
    faults: dict[str, Fault] | None = None

    def document(self) -> dict[str, Any]:
        """Those parts that were measured."""
        return {part: found for part, found in self.model_dump().items() if found is not None}


PARTS: Final = tuple(Findings.model_fields)
