"""Composition roots: each module is a stage, read from top to bottom: data, model, objective, loop."""
