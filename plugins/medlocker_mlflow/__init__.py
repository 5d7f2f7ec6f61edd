"""MedLocker in MLflow: run logging, data sets and models.

Every module that knows MLflow is in this package; importing the package itself does not import MLflow.
"""
