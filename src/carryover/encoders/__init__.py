"""Finished models as things one uses: loaded, turned into vectors, cached, written with."""
