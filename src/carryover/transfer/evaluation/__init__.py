"""What a test file says about a model of a task: scores, confusions, mistakes, calibration; as lines, a table or a page."""
