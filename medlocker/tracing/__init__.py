"""Editions with a mark of their own for each recipient, and tracing a leaked copy back to whom it was given."""

from medlocker.tracing.accusing import Accusation, Evidence, accuse, images_needed, innocence, merge_evidence
from medlocker.tracing.codes import TracingCode
from medlocker.tracing.editions import (
    draw_edition,
    edition_alphabet,
    edition_alphabets,
    edition_placements,
    mark_for_edition,
    tracing_code,
)
from medlocker.tracing.locating import Located, locate_mark
from medlocker.tracing.matching import Identified, ImageIndex, build_index, identify
from medlocker.tracing.reading import Reading, read_symbols
from medlocker.tracing.registration import Registration, register

__all__ = [
    "Accusation",
    "Evidence",
    "Identified",
    "ImageIndex",
    "Located",
    "Reading",
    "Registration",
    "TracingCode",
    "accuse",
    "build_index",
    "draw_edition",
    "edition_alphabet",
    "edition_alphabets",
    "edition_placements",
    "identify",
    "images_needed",
    "innocence",
    "locate_mark",
    "mark_for_edition",
    "merge_evidence",
    "read_symbols",
    "register",
    "tracing_code",
]
