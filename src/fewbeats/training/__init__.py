"""From records to a meta-trained network, and the figures that say what it is worth."""
