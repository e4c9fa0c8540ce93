"""Small programs that run inside the sandbox, over libraries that read what no command extracts."""
