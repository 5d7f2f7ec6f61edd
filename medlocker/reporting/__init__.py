"""What a person looks at after a lock: pictures and one self-contained HTML page."""

from medlocker.reporting.data import ReportData, Sample
from medlocker.reporting.html import write_report
from medlocker.reporting.pictures import comparison_picture

__all__ = ["ReportData", "Sample", "comparison_picture", "write_report"]
