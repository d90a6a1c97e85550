"""A module for each resource."""
