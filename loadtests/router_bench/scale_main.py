"""The second part of the benchmark: `python -m loadtests.router_bench.scale_main`, after the side-by-side one."""

import sys

from loadtests.router_bench.__main__ import main
from loadtests.router_bench.scale import scale

if __name__ == "__main__":
    sys.exit(main(scale))
