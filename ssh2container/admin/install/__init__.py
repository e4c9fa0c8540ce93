"""What the installer makes beside the code: the bundle of hot modules, the skeleton."""
