"""Alembic revisions in one line: each names the one before it, `0001_signals`, `0002_campaigns`, …"""
