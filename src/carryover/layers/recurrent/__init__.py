"""Layers that carry a state from step to step, their plain loops and their fast scans."""
