"""Benchmarks a user can run: ratios of two sides measured in turns in one process, on synthetic images."""
