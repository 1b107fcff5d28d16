"""The report that people open in a browser."""
