"""The demo: a year of Complete Journey retail transactions, hand-made tales, and the client that opens mails."""
