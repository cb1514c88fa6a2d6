"""Language models that write: sampling, streaming, conversations."""
