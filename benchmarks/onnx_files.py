"""A Keras model as ONNX files, in every form that ONNX Runtime recommends for a transformer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process


def onnx_files(model: keras.Model, folder: Path, *, opset: int) -> None:
    """Writes `float_*.onnx` and `int8_*.onnx` files.

    Args:
        model: The model.
        folder: Where the files go.
        opset: The version of the operators; 17 and newer know layer normalization.
    """
    saved = folder / "saved_model"
    model.export(saved, verbose=False)
    plain = folder / "float_plain.onnx"
    command = ["-m", "tf2onnx.convert", "--saved-model", saved, "--opset", str(opset)]
    subprocess.run([sys.executable, *command, "--output", plain], check=True, capture_output=True)
    floats = [plain, *_optimized(plain, model)]
    for path in floats:
        ready = folder / "ready.tmp"
        quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
        for weights in (QuantType.QInt8, QuantType.QUInt8):
            name = f"{path.stem.replace('float', 'int8')}_{weights.name.lower()}.onnx"
            quantize_dynamic(ready, folder / name, weight_type=weights, per_channel=True)
        ready.unlink()


def _optimized(plain: Path, model: keras.Model) -> list[Path]:
    """Runs ONNX Runtime's transformer optimizer, for BERT from TensorFlow and from elsewhere."""
    from onnxruntime.transformers.optimizer import optimize_model

    block = model.get_layer("encoder_0")
    written = []
    for kind in ("bert", "bert_tf", "bert_keras"):
        fused = optimize_model(
            str(plain),
            model_type=kind,
            num_heads=block.num_heads,
            hidden_size=block.ffn_outer.units,
            opt_level=0,
        )
        print(kind, fused.get_fused_operator_statistics(), file=sys.stderr)
        path = plain.with_name(f"float_{kind}.onnx")
        onnx.save(fused.model, str(path))
        written.append(path)
    return written
