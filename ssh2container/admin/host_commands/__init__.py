"""Running commands of the host for sessions whose policies name them (``host_commands``)."""
