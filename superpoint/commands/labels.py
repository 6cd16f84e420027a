"""Commands for labels and features in HDF5."""

from __future__ import annotations

from superpoint.commands.options import command_group

app = command_group()
