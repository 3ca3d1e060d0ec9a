"""The ending that shows: videos, results, and a page that sums them up."""
