"""From a trained network to a bundle that a gateway can run."""
