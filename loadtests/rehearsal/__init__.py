"""Stand-in engines that behave in time as vLLM does: the model, its fit to measured engines, and the server."""
