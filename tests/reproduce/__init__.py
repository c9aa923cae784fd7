"""The reproduction report: published numbers, what this project finds in their place, and whether they agree.

    make reproduce        or        python -m tests.reproduce [--quick] [--only NAME …]

`rows` says what a row is and how it is judged, `studies` lists every study, `report` writes docs/reproduction.md. The other
modules are the studies. Their quick versions are tests: tests/unit/test_reproduce.py.
"""
