"""Many pictures, one prompt (or one a row), answered in order into a file that a kill does not harm."""
