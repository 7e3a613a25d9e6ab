"""What can be wrong on a host: small checks that know nothing of each other.

A check is a function of a Host that yields findings. examine() runs them all; one that
fails itself becomes a finding of its own, "unknown", and stops none of the others.
"""
