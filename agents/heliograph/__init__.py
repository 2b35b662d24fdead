"""Heliograph: see what a workflow is doing. This package is what runs beside the workflow."""

__version__ = "0.1.0"
