"""The small library behind the course: what the notebooks use but do not teach."""
