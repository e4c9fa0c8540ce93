"""What the tests stand on: throw-away users, a real sshd, clients, a log listener, leak checks."""
