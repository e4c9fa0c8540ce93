"""The only door to the kernel: system calls by meaning, an errno turned into an error. Knows no policy."""
