"""Where photographs come from: folders, globs, lists, archives, streams."""
