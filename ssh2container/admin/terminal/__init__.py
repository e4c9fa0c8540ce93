"""An administrator's terminal: what of a session or an image may reach it, and how it is left."""
