"""The audit trail: reading back what sessions wrote to the system's log."""
