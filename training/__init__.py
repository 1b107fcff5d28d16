"""The school: rows become an adapter with proof that it is better, and its canary starts with one command.

Imports of torch, transformers, trl and peft take half a minute of a cold disk: they stand inside the functions that
need them, so that a bad recipe is told in a second.
"""
