"""The only door to the kernel: system calls by meaning, with the errno turned into an error. Knows no policy."""
