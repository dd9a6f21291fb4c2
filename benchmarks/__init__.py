"""Benchmarks of bijectree against its peers: `python -m benchmarks`."""
