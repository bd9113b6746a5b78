"""A pretraining run: settings, corpus, the run itself, its scores and its model card."""
