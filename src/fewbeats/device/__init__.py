"""What runs on the gateway: pre-processing, backbone, head, adaptation, detection."""
