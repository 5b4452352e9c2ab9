"""Float models made small: post-training quantization."""
