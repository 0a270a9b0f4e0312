"""Measure this library beside raw httpx2 and beside what people use today: `python -m benchmarks`, `nox -s bench`."""
