"""Whole jobs, as a user asks for them: the parts put in order, watched, measured, reported and tracked."""

from medlocker.jobs.progress import NetworkLoader, Progress, SilentProgress
from medlocker.jobs.protecting import ProtectRequest, ProtectResult, run_protect
from medlocker.jobs.transferring import TransferRequest, TransferResult, run_report, run_transfer

__all__ = [
    "NetworkLoader",
    "Progress",
    "ProtectRequest",
    "ProtectResult",
    "SilentProgress",
    "TransferRequest",
    "TransferResult",
    "run_protect",
    "run_report",
    "run_transfer",
]
