"""The store of images: what is kept, made durable, verified, shifted and collected."""
