"""Search from Python: the functions of the package, and what the command line shares with them."""
