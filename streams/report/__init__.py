"""The report on one experiment: what is known as one record, and that record as a page. Reads nothing itself.

Inputs → `make_report` → `Report` → page, terminal or JSON. A part that is a sentence and a table is a function in `sections`.
"""

from streams.report.inputs import Inputs
from streams.report.make import make_report
from streams.report.page import page
from streams.report.record import Report, Section

__all__ = ["Inputs", "Report", "Section", "make_report", "page"]
