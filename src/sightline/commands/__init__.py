"""One module a command. Heavy imports stand inside the functions: `--help` imports neither torch nor transformers."""
