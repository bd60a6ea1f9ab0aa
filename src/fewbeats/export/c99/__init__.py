"""The int8 backbone as C99: read from the ONNX graph, written as text, proven on the host."""
