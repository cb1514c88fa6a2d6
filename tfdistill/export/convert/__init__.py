"""Keras model → TFLite bytes: signatures, quantization, calibration."""
