"""How fast this machine multiplies matrices: a third of a second of what training consists of."""

import time
from typing import Any, Final

from training.base_model import Dtype, resolved_dtype

_PROBE_S: Final = 0.15


def multiply_flops_per_s(rows: int, inner: int, outer: int, dtype: Dtype) -> float:
    """Operations a second of a product [rows, inner] x [inner, outer], in the number type that training would use."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    number_type = resolved_dtype(dtype)
    left: Any = torch.ones(rows, inner, dtype=number_type, device=device)
    right: Any = torch.ones(outer, inner, dtype=number_type, device=device)

    def multiply() -> None:
        torch.nn.functional.linear(left, right)
        if device == "cuda":
            torch.cuda.synchronize()

    # The first one chooses its kernel and wakes the threads.
    multiply()
    count, began_s = 0, time.perf_counter()
    while (passed_s := time.perf_counter() - began_s) < _PROBE_S or count < 3:
        multiply()
        count += 1
    return 2.0 * rows * inner * outer * count / passed_s


def number_type_of(dtype: Dtype) -> str:
    """The number type that training would use: `bfloat16` or `float32`."""
    return str(resolved_dtype(dtype)).removeprefix("torch.")
