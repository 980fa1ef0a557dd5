"""A user's data of any format, as conversations: `open_data`.

Containers (`lines`, `folder`, `parquet`, `shards`, `hub`) know where rows are, `shapes` what a row of which format
says, and `opening` which is which. None of them knows tokens; only `splits` opens pictures.
"""

from sightline.data.readers.opening import Data, open_data
from sightline.data.readers.shapes import FORMATS, Format, Reading

__all__ = ["FORMATS", "Data", "Format", "Reading", "open_data"]
