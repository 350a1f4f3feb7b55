"""The subcommands: a module is imported only when one of its commands is run."""
