"""Commands of the project that `make` calls; none is needed to read or to run the book."""
