"""What is broken on purpose while load runs."""
