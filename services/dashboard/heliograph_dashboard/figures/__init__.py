"""Figures: pure functions from rows to what plotly draws; tested without a browser."""
