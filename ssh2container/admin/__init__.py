"""Cold: what no login needs. Nothing outside this package imports it (policy.store does, lazily)."""
