"""Published tables reproduced by one command a cell: what was tried, with which settings, what came out, set beside it."""
