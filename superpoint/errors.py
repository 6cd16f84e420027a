"""The one exception that a user can cause."""

from __future__ import annotations


class UserError(Exception):
    """Input that cannot be used: a file, a key, a value, a device.

    The message is one line that names the file or key, what was found and what was expected. The command line prints
    it without a traceback and ends with exit code 2.
    """
