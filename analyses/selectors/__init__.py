"""Reads for the pages of an analysis, page-ready, with pinned numbers of queries."""
