"""How a plan is carried out: the monitor, pid 1 and the payload."""
