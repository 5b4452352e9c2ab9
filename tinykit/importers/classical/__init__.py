"""Fitted estimators of scikit-learn to graphs, one file for each kind of arithmetic."""
