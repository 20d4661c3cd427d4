"""Reports: scores to a table with intervals, a translation to a page that people check; each also as one HTML file."""

from kullm.reports.statistics import Estimate, mean, paired
from kullm.reports.table import Report, report
from kullm.reports.translation import TranslationReport, translation_report

__all__ = ["Estimate", "Report", "TranslationReport", "mean", "paired", "report", "translation_report"]
