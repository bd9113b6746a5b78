from command_line import shell

__all__ = ["shell"]
