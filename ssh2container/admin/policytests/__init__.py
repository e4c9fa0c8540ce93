"""Policy tests: what users can and cannot do, tried in real sessions."""
