"""Public data sets and the protocols that measure this product on them: `latebind evaluate`."""
