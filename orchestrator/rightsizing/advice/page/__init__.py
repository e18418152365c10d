"""The savings report as one page for people."""

from orchestrator.rightsizing.advice.page.html import Report, page_html

__all__ = ["Report", "page_html"]
