"""Reports: scores to a table with intervals, in a terminal, as Markdown and as one HTML file."""

from kullm.reports.statistics import Estimate, mean, paired
from kullm.reports.table import Report, report

__all__ = ["Estimate", "Report", "mean", "paired", "report"]
