"""Dashboards, rules, alerts and the metrics page, made by code from the names the code exports."""
