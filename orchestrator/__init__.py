"""Rightsize: runs language-model jobs on the smallest model that does them well."""

__version__ = "0.1.0"
