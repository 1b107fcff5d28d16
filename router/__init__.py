"""The triage desk: one OpenAI-compatible address that chooses the model for each query."""
