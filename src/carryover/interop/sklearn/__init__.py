"""Estimators and transformers for scikit-learn."""
