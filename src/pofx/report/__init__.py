"""The report: numbers → tables, verdicts, figures and one HTML file. It reads results.json and the arrays beside it.

Nothing here imports torch or a model: a report can be written again anywhere from the files of a comparison.
"""
