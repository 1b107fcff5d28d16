"""What samples say: plain functions from figures to verdicts."""
