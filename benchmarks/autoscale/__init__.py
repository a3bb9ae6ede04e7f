"""What an autoscaler costs and what it keeps: our formula against queue length, on a simulated day."""
