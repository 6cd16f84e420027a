"""Overfit one sample: scenes, photographs, pairs."""
