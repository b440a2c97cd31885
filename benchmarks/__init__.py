"""Speed, measured as ratios taken in one run: each benchmark runs its peer under the same conditions beside it."""
