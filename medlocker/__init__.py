"""MedLocker: lock medical image data sets with removable adversarial watermarks.

Implements *MedLocker: A Transferable Adversarial Watermarking for Preventing Unauthorized Analysis of
Medical Image Dataset* (Pu, Wei, Zhao, Fu); docstrings name the equation or step they follow.
"""

__version__ = "0.1.0"
