"""Servers and load for measuring gateways: a stub upstream, a bare pass-through, a load generator."""
