"""How long to wait before an engine that died is started again."""

FIRST_S = 1.0
LONGEST_S = 60.0
# An engine that served this long did not die of its configuration: its next death starts the count anew.
HELD_READY_S = 60.0


def failures_after(failures: int, held_ready_s: float) -> int:
    """Count failures in a row, this death included. `held_ready_s`: how long the life that ended was ready."""
    return 1 if held_ready_s >= HELD_READY_S else failures + 1


def wait_s(failures: int, chance: float) -> float:
    """Seconds to wait after `failures` (at least 1) in a row; `chance`, 0 to 1, spreads engines that died together.

    Doubles from 1 to 60 s, of which between half and all is waited.
    """
    # Beyond 2^6 the cap holds anyway; without it thousands of failures would overflow a float.
    full_s = min(LONGEST_S, FIRST_S * 2.0 ** min(failures - 1, 6))
    return full_s * (0.5 + chance / 2)
