"""Whole jobs, as a user asks for them: the parts put in order, watched, measured, reported and tracked.

Import from the modules: `protecting`, `transferring`. This package imports nothing itself, so that a recipient's
commands do not wait for PyTorch.
"""
