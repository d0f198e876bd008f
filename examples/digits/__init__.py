"""Handwritten digits: a scikit-learn classifier served over the KServe V2 protocol."""
