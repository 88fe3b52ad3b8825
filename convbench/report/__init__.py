"""Renderings of records: tables, files, plots, pages."""
