"""Many runs compared: what differs, mean and spread over seeds, paired tests, curves. Loads no torch."""
