"""Checks of a run: each is a function from a case to a finding."""
