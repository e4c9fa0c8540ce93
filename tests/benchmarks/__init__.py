"""What sessions cost, beside other programs that do the like, in the same run: ``tests/benchmarks/run``."""
