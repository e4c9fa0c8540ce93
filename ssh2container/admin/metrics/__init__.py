"""Metrics for Prometheus: counters of the audit trail that only grow, and what runs now."""
