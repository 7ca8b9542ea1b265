"""Networks whose features and class probabilities the metrics stand on."""
