"""The commands, each in a module with its name that is imported only to ``run`` it."""
