"""The ONNX graph: a builder, a session, and trees as nodes."""
