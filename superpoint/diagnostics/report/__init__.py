"""One HTML page about a run; the stage itself is `write`."""
