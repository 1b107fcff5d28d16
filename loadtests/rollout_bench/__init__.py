"""Measures how rollouts are judged and how broken versions go."""
