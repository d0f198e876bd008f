"""A predictor on the SDK of KServe."""
