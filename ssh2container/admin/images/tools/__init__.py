"""The transfer programs that sessions find in any image."""
