"""The process that touches untrusted bytes: decode, preprocess, infer."""
