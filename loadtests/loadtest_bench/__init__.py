"""What `make bench-loadtest` measures."""
