"""What an emitted module can do beyond its gradients: transforms, kinds of numbers, copies, processes."""
