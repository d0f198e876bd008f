"""What people see of a simulation: a table, JSON, CSV, and one page of HTML."""

from simulations.report.document import as_json, from_json
from simulations.report.files import read_json, write_csv, write_html, write_json
from simulations.report.terminal import print_results

__all__ = [
    "as_json",
    "from_json",
    "print_results",
    "read_json",
    "write_csv",
    "write_html",
    "write_json",
]
