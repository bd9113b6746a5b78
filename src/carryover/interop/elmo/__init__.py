"""Published ELMo files of every kind, in and out."""
