"""Commands that say why a training run fails."""

from __future__ import annotations

from superpoint.commands.options import command_group

app = command_group()
