"""What reaches gateways and sensors from the host: flashing and provisioning."""
