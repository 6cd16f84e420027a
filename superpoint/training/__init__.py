"""Objectives, validation and the trainers."""
