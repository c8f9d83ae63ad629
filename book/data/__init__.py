"""The tables of the book, installed as `course.tables`, so that notebooks and prose read the same figures."""
