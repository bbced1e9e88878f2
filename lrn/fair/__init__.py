"""Fairness: metrics, interventions and audits."""
