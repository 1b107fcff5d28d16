"""What a request costs on its way through the router and its rivals: `make bench-router`."""
