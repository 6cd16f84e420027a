"""The matcher: features of views, training of LightGlue on them, checks and report in one room."""
