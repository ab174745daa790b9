"""The subcommands of `ranking`, a module each."""
