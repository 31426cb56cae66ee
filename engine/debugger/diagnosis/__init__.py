"""Diagnosis: rules that read what was received and say what is wrong. Without Qt; may import widgets.format, model and net.

`diagnose` runs all rules and sorts their `RuleFinding`s; `indicators` has the statistics, `align_failures` holds failures against
survivors.
"""
