"""The parts of the synthetic fundus photograph: canvas, eye, vessels, lesions, photograph.

All positions and sizes in this package are fractions of the image side (x right, y down, both in [0, 1)), so that the
same random draws give the same eye at every resolution.
"""
