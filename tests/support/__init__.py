"""What tests share: goldens, a writer of .tflite files, the C kernels without generated code."""
