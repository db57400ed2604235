"""Execution providers."""
