"""One paper, one file. `registry` knows their names and imports a file only when it is asked for."""
