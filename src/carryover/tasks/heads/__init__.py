"""The torch side of tasks: a file each."""
