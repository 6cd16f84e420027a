"""The sub-commands of `superpoint`, by theme.

Stages import late, so that `--help` and a mistyped option answer at once.
"""
