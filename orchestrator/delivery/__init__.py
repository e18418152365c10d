"""Result lines of a batch of documents in the forms that people want: tables, a folder, causes of failure, a report.

Presentation only: it reads lines that are there already, asks no database and no network, and runs where the client runs.
"""
