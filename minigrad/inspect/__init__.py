"""Looking into networks without training them."""
from .summary import Row, format_summary, summary
