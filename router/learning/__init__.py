"""Making, measuring and replacing judges: all that happens off the request path."""
