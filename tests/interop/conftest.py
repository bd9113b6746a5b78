from command_line import material, shell

__all__ = ["material", "shell"]
