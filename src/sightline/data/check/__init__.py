"""What is wrong with a user's data, and a copy without it: `check` and `write_clean`."""

from sightline.data.check.clean import write_clean
from sightline.data.check.problems import KINDS, Limits
from sightline.data.check.report import Report
from sightline.data.check.run import check

__all__ = ["KINDS", "Limits", "Report", "check", "write_clean"]
