"""The ground floor: settings, clock, ids, tokens, stores, blobs, sealing, queues, embedded servers, errors, logs.

Nothing here imports another floor, and nothing here connects at import.
"""
