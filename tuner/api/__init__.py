"""Search from Python: the functions of the package, and code shared with the command line."""
