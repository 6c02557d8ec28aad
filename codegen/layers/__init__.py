"""Feed-forward nets: chains of layers with sizes and parameters of their own."""
