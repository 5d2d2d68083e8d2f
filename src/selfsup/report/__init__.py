"""One offline HTML file about an advice or a run."""

from selfsup.report.report import write_report

__all__ = ["write_report"]
