"""Experiments of many cells: run side by side, stored one by one, continued, and averaged over seeds."""
