"""The report as a page: what a run has measured, in one HTML file without any network, and the same as Markdown."""
