"""A task from labelled examples, by any plan of carrying over: settings, model, updates, and files in and out."""
