"""The command line. Thin: it builds the parts, passes them down, and translates errors into exit codes."""
